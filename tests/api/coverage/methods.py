"""Methods and actions of Manila's API at 2.99, with the microversions at which they exist.

A line is the first microversion, the last one if there is one, and the name as ``declared.py``
writes it: parameters of a path have no name, and an action stands behind its path.
"""

METADATA = (
    "GET {}/metadata",
    "POST {}/metadata",
    "PUT {}/metadata",
    "GET {}/metadata/{{}}",
    "POST {}/metadata/{{}}",
    "DELETE {}/metadata/{{}}",
)
"""The metadata below a resource."""

WITH_METADATA = """
2.0  /shares/{}
2.73 /snapshots/{}
2.78 /share-networks/{}/subnets/{}
2.87 /shares/{}/export_locations/{}
2.95 /share-replicas/{}
"""

METHODS = """
2.0 GET /shares
2.0 GET /shares/detail
2.0 POST /shares
2.0 GET /shares/{}
2.0 PUT /shares/{}
2.0 DELETE /shares/{}
2.3 GET /shares/{}/instances
2.0-2.6 POST /os-share-manage
2.0-2.6 POST /os-share-unmanage/{}/unmanage
2.7 POST /shares/manage
2.9 GET /shares/{}/export_locations
2.9 GET /shares/{}/export_locations/{}
2.98 GET /shares/{}/migration-progress

2.3 GET /share_instances
2.3 GET /share_instances/{}
2.9 GET /share_instances/{}/export_locations
2.9 GET /share_instances/{}/export_locations/{}

2.45 GET /share-access-rules
2.45 GET /share-access-rules/{}
2.88 PUT /share-access-rules/{}
2.45 PUT /share-access-rules/{}/metadata
2.45 DELETE /share-access-rules/{}/metadata/{}

2.0 GET /snapshots
2.0 GET /snapshots/detail
2.0 POST /snapshots
2.0 GET /snapshots/{}
2.0 PUT /snapshots/{}
2.0 DELETE /snapshots/{}
2.12 POST /snapshots/manage
2.32 GET /snapshots/{}/access-list
2.32 GET /snapshots/{}/export-locations
2.32 GET /snapshots/{}/export-locations/{}
2.19 GET /snapshot-instances
2.19 GET /snapshot-instances/detail
2.19 GET /snapshot-instances/{}
2.32 GET /snapshot-instances/{}/export-locations
2.32 GET /snapshot-instances/{}/export-locations/{}

2.0 GET /share-networks
2.0 GET /share-networks/detail
2.0 POST /share-networks
2.0 GET /share-networks/{}
2.0 PUT /share-networks/{}
2.0 DELETE /share-networks/{}
2.51 GET /share-networks/{}/subnets
2.51 POST /share-networks/{}/subnets
2.51 GET /share-networks/{}/subnets/{}
2.51 DELETE /share-networks/{}/subnets/{}

2.0 GET /security-services
2.0 GET /security-services/detail
2.0 POST /security-services
2.0 GET /security-services/{}
2.0 PUT /security-services/{}
2.0 DELETE /security-services/{}

2.0 GET /share-servers
2.0 GET /share-servers/{}
2.0 GET /share-servers/{}/details
2.0 DELETE /share-servers/{}
2.49 POST /share-servers/manage

2.0 GET /types
2.0 GET /types/default
2.0 POST /types
2.0 GET /types/{}
2.50 PUT /types/{}
2.0 DELETE /types/{}
2.0 GET /types/{}/extra_specs
2.0 POST /types/{}/extra_specs
2.0 GET /types/{}/extra_specs/{}
2.0 PUT /types/{}/extra_specs/{}
2.0 DELETE /types/{}/extra_specs/{}
2.0-2.6 GET /types/{}/os-share-type-access
2.7 GET /types/{}/share_type_access

2.31 GET /share-groups
2.31 GET /share-groups/detail
2.31 POST /share-groups
2.31 GET /share-groups/{}
2.31 PUT /share-groups/{}
2.31 DELETE /share-groups/{}
2.31 GET /share-group-snapshots
2.31 GET /share-group-snapshots/detail
2.31 POST /share-group-snapshots
2.31 GET /share-group-snapshots/{}
2.31 PUT /share-group-snapshots/{}
2.31 DELETE /share-group-snapshots/{}
2.31 GET /share-group-snapshots/{}/members
2.31 GET /share-group-types
2.31 GET /share-group-types/default
2.31 POST /share-group-types
2.31 GET /share-group-types/{}
2.31 DELETE /share-group-types/{}
2.31 GET /share-group-types/{}/access
2.31 GET /share-group-types/{}/group-specs
2.31 POST /share-group-types/{}/group-specs
2.31 GET /share-group-types/{}/group-specs/{}
2.31 PUT /share-group-types/{}/group-specs/{}
2.31 DELETE /share-group-types/{}/group-specs/{}

2.11 GET /share-replicas
2.11 GET /share-replicas/detail
2.11 POST /share-replicas
2.11 GET /share-replicas/{}
2.11 DELETE /share-replicas/{}
2.47 GET /share-replicas/{}/export-locations
2.47 GET /share-replicas/{}/export-locations/{}

2.0-2.6 GET /os-availability-zone
2.7 GET /availability-zones
2.0-2.6 GET /os-services
2.0-2.6 PUT /os-services/enable
2.0-2.6 PUT /os-services/disable
2.7 GET /services
2.7 PUT /services/enable
2.7 PUT /services/disable
2.86 POST /services/ensure-shares

2.0-2.6 GET /os-quota-sets/{}
2.0-2.6 GET /os-quota-sets/{}/defaults
2.0-2.6 PUT /os-quota-sets/{}
2.0-2.6 DELETE /os-quota-sets/{}
2.7 GET /quota-sets/{}
2.7 GET /quota-sets/{}/defaults
2.25 GET /quota-sets/{}/detail
2.7 PUT /quota-sets/{}
2.7 DELETE /quota-sets/{}
2.0-2.6 GET /os-quota-class-sets/{}
2.0-2.6 PUT /os-quota-class-sets/{}
2.7 GET /quota-class-sets/{}
2.7 PUT /quota-class-sets/{}
2.0 GET /limits

2.0 GET /scheduler-stats/pools
2.0 GET /scheduler-stats/pools/detail
2.37 GET /messages
2.37 GET /messages/{}
2.37 DELETE /messages/{}

2.77 GET /share-transfers
2.77 GET /share-transfers/detail
2.77 POST /share-transfers
2.77 GET /share-transfers/{}
2.77 DELETE /share-transfers/{}
2.77 POST /share-transfers/{}/accept

2.80 GET /share-backups
2.80 GET /share-backups/detail
2.80 POST /share-backups
2.80 GET /share-backups/{}
2.80 PUT /share-backups/{}
2.80 DELETE /share-backups/{}

2.81 GET /resource-locks
2.81 POST /resource-locks
2.81 GET /resource-locks/{}
2.81 PUT /resource-locks/{}
2.81 DELETE /resource-locks/{}

2.94 GET /qos-types
2.94 POST /qos-types
2.94 GET /qos-types/{}
2.94 PUT /qos-types/{}
2.94 DELETE /qos-types/{}
2.94 GET /qos-types/{}/specs
2.94 POST /qos-types/{}/specs
2.94 GET /qos-types/{}/specs/{}
2.94 PUT /qos-types/{}/specs/{}
2.94 DELETE /qos-types/{}/specs/{}

2.0 GET /extensions
"""

ACTIONS = """
2.7 /shares/{} allow_access
2.7 /shares/{} deny_access
2.7-2.44 /shares/{} access_list
2.7 /shares/{} extend
2.7 /shares/{} shrink
2.7 /shares/{} reset_status
2.7 /shares/{} force_delete
2.7 /shares/{} unmanage
2.27 /shares/{} revert
2.69 /shares/{} soft_delete
2.69 /shares/{} restore
2.29 /shares/{} migration_start
2.22 /shares/{} migration_complete
2.22 /shares/{} migration_cancel
2.22-2.97 /shares/{} migration_get_progress
2.22 /shares/{} reset_task_state
2.0-2.6 /shares/{} os-allow_access
2.0-2.6 /shares/{} os-deny_access
2.0-2.6 /shares/{} os-access_list
2.0-2.6 /shares/{} os-extend
2.0-2.6 /shares/{} os-shrink
2.0-2.6 /shares/{} os-reset_status
2.0-2.6 /shares/{} os-force_delete
2.7 /share_instances/{} reset_status
2.7 /share_instances/{} force_delete
2.3-2.6 /share_instances/{} os-reset_status
2.3-2.6 /share_instances/{} os-force_delete
2.7 /snapshots/{} reset_status
2.7 /snapshots/{} force_delete
2.0-2.6 /snapshots/{} os-reset_status
2.0-2.6 /snapshots/{} os-force_delete
2.12 /snapshots/{} unmanage
2.32 /snapshots/{} allow_access
2.32 /snapshots/{} deny_access
2.19 /snapshot-instances/{} reset_status
2.0 /share-networks/{} add_security_service
2.0 /share-networks/{} remove_security_service
2.63 /share-networks/{} update_security_service
2.63 /share-networks/{} update_security_service_check
2.63 /share-networks/{} add_security_service_check
2.63 /share-networks/{} reset_status
2.70 /share-networks/{} share_network_subnet_create_check
2.49 /share-servers/{} unmanage
2.49 /share-servers/{} reset_status
2.57 /share-servers/{} migration_start
2.57 /share-servers/{} migration_complete
2.57 /share-servers/{} migration_cancel
2.57 /share-servers/{} migration_get_progress
2.57 /share-servers/{} migration_check
2.57 /share-servers/{} reset_task_state
2.0 /types/{} addProjectAccess
2.0 /types/{} removeProjectAccess
2.31 /share-groups/{} reset_status
2.31 /share-groups/{} force_delete
2.31 /share-group-snapshots/{} reset_status
2.31 /share-group-snapshots/{} force_delete
2.31 /share-group-types/{} addProjectAccess
2.31 /share-group-types/{} removeProjectAccess
2.11 /share-replicas/{} promote
2.11 /share-replicas/{} resync
2.11 /share-replicas/{} reset_status
2.11 /share-replicas/{} reset_replica_state
2.11 /share-replicas/{} force_delete
2.80 /share-backups/{} restore
2.80 /share-backups/{} reset_status
"""
