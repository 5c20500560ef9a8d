"""What all resources of the API share: routes, bodies, pages, filters, views, versions, policy.

It imports no resource: the folders beside it import it.
"""
