"""Filters, and fields of requests and answers of Manila's API at 2.99.

A line is the microversions, where the fields are, and their names; ``methods.py`` says how
microversions and places are written.
"""

FILTERS = """
2.0 GET /shares: name status host share_server_id share_type_id snapshot_id project_id
2.0 GET /shares: share_network_id is_public metadata extra_specs share_group_id
2.0 GET /shares: limit offset sort_key sort_dir all_tenants
2.35 GET /shares: export_location_id export_location_path
2.36 GET /shares: name~ description~
2.42 GET /shares: with_count
2.69 GET /shares: is_soft_deleted
2.90 GET /shares: encryption_key_ref
2.97 GET /shares: availability_zone
2.31 DELETE /shares/{}: share_group_id
2.35 GET /share_instances: export_location_id export_location_path
2.69 GET /share_instances: is_soft_deleted
2.45 GET /share-access-rules: share_id
2.82 GET /share-access-rules: access_type access_to access_level access_key
2.0 GET /snapshots: name status share_id size limit offset sort_key sort_dir all_tenants
2.36 GET /snapshots: name~
2.73 GET /snapshots: metadata
2.79 GET /snapshots: with_count
2.0 GET /share-networks: name project_id all_tenants neutron_net_id neutron_subnet_id
2.0 GET /share-networks: network_type segmentation_id cidr ip_version nova_net_id
2.0 GET /share-networks: created_since created_before security_service_id limit offset
2.36 GET /share-networks: name~ description~
2.0 GET /share-servers: host status project_id share_network_id
2.49 GET /share-servers: identifier
2.51 GET /share-servers: share_network_subnet_id
2.57 GET /share-servers: source_share_server_id
2.0 GET /types: is_public
2.43 GET /types: extra_specs
2.66 GET /share-group-types: group_specs
2.7 GET /services: host binary zone state status
2.93 GET /services: ensuring
2.7 GET /quota-sets/{}: user_id
2.39 GET /quota-sets/{}: share_type
2.0 GET /scheduler-stats/pools: host backend pool capabilities
2.23 GET /scheduler-stats/pools: share_type
2.37 GET /messages: request_id resource_type resource_id action_id detail_id message_level
2.37 GET /messages: limit offset marker sort_key sort_dir
2.52 GET /messages: created_since created_before
"""

REQUESTS = """
2.0 POST /shares: share_proto size name description share_type volume_type share_network_id
2.0 POST /shares: snapshot_id is_public metadata
2.1 POST /shares: availability_zone
2.31 POST /shares: share_group_id
2.65 POST /shares: scheduler_hints.same_host scheduler_hints.different_host
2.67 POST /shares: scheduler_hints.only_host
2.84 POST /shares: mount_point_name
2.90 POST /shares: encryption_key_ref
2.0 PUT /shares/{}: display_name display_description is_public
2.7 POST /shares/manage: service_host export_path protocol share_type driver_options name
2.7 POST /shares/manage: description
2.8 POST /shares/manage: is_public
2.49 POST /shares/manage: share_server_id
2.92 POST /shares/manage: mount_point_name
2.7 POST /shares/{}/action allow_access: access_type access_to access_level
2.45 POST /shares/{}/action allow_access: metadata
2.82 POST /shares/{}/action allow_access: lock_visibility lock_deletion lock_reason
2.7 POST /shares/{}/action deny_access: access_id
2.82 POST /shares/{}/action deny_access: unrestrict
2.7 POST /shares/{}/action extend: new_size
2.64 POST /shares/{}/action extend: force
2.7 POST /shares/{}/action shrink: new_size
2.27 POST /shares/{}/action revert: snapshot_id
2.29 POST /shares/{}/action migration_start: host force_host_assisted_migration
2.29 POST /shares/{}/action migration_start: preserve_metadata preserve_snapshots writable
2.29 POST /shares/{}/action migration_start: nondisruptive new_share_network_id
2.29 POST /shares/{}/action migration_start: new_share_type_id
2.88 PUT /share-access-rules/{}: access_level
2.0 POST /snapshots: share_id name description force
2.73 POST /snapshots: metadata
2.12 POST /snapshots/manage: share_id provider_location name description driver_options
2.32 POST /snapshots/{}/action allow_access: access_type access_to
2.32 POST /snapshots/{}/action deny_access: access_id
2.0 POST /share-networks: name description neutron_net_id neutron_subnet_id
2.51 POST /share-networks: availability_zone
2.0 PUT /share-networks/{}: name description neutron_net_id neutron_subnet_id
2.0 POST /share-networks/{}/action add_security_service: security_service_id
2.0 POST /share-networks/{}/action remove_security_service: security_service_id
2.63 POST /share-networks/{}/action update_security_service: current_service_id new_service_id
2.51 POST /share-networks/{}/subnets: neutron_net_id neutron_subnet_id availability_zone
2.78 POST /share-networks/{}/subnets: metadata
2.0 POST /security-services: type name description dns_ip server domain user password
2.44 POST /security-services: ou
2.76 POST /security-services: default_ad_site
2.49 POST /share-servers/manage: host share_network_id identifier driver_options
2.51 POST /share-servers/manage: share_network_subnet_id
2.49 POST /share-servers/{}/action unmanage: force
2.0 POST /types: name extra_specs
2.0-2.6 POST /types: os-share-type-access:is_public
2.7 POST /types: share_type_access:is_public
2.41 POST /types: description
2.11 POST /share-replicas: share_id availability_zone
2.67 POST /share-replicas: scheduler_hints
2.72 POST /share-replicas: share_network_id
2.95 POST /share-replicas: metadata
2.75 POST /share-replicas/{}/action promote: quiesce_wait_time
2.7 PUT /services/disable: host binary
2.83 PUT /services/disable: disabled_reason
2.86 POST /services/ensure-shares: host
2.7 PUT /quota-sets/{}: shares gigabytes snapshots snapshot_gigabytes share_networks force
2.62 PUT /quota-sets/{}: per_share_gigabytes
2.40 PUT /quota-sets/{}: share_groups share_group_snapshots
2.53 PUT /quota-sets/{}: share_replicas replica_gigabytes
2.80 PUT /quota-sets/{}: backups backup_gigabytes
2.90 PUT /quota-sets/{}: encryption_keys
2.77 POST /share-transfers/{}/accept: auth_key clear_access_rules
2.80 POST /share-backups: share_id name description backup_options availability_zone
2.81 POST /resource-locks: resource_id resource_type resource_action lock_reason
"""

ANSWERS = """
2.0 GET /shares/{}: id size availability_zone created_at status name description project_id
2.0 GET /shares/{}: snapshot_id share_network_id share_proto metadata share_type volume_type
2.0 GET /shares/{}: is_public links share_server_id host
2.0-2.8 GET /shares/{}: export_location export_locations
2.2 GET /shares/{}: snapshot_support
2.5 GET /shares/{}: task_state
2.6 GET /shares/{}: share_type_name
2.10 GET /shares/{}: access_rules_status
2.11 GET /shares/{}: replication_type has_replicas
2.16 GET /shares/{}: user_id
2.24 GET /shares/{}: create_share_from_snapshot_support
2.27 GET /shares/{}: revert_to_snapshot_support
2.31 GET /shares/{}: share_group_id source_share_group_snapshot_member_id
2.32 GET /shares/{}: mount_snapshot_support
2.54 GET /shares/{}: progress
2.69 GET /shares/{}: is_soft_deleted scheduled_to_be_deleted_at
2.80 GET /shares/{}: source_backup_id
2.90 GET /shares/{}: encryption_key_ref
2.99 GET /shares/{}: snapshot_inherit_share_access_support
2.9 GET /shares/{}/export_locations: id path share_instance_id is_admin_only
2.14 GET /shares/{}/export_locations: preferred
2.87 GET /shares/{}/export_locations: metadata
2.30 GET /share_instances/{}: cast_rules_to_readonly
2.54 GET /share_instances/{}: progress
2.71 GET /share_instances/{}: updated_at
2.0 POST /shares/{}/action: id access_level access_to access_type state share_id
2.21 POST /shares/{}/action: access_key
2.33 POST /shares/{}/action: created_at updated_at
2.45 POST /shares/{}/action: metadata
2.45 GET /share-access-rules/{}: id access_level access_to access_type state share_id
2.45 GET /share-access-rules/{}: access_key created_at updated_at metadata
2.0 GET /snapshots/{}: id share_id share_size size status name description share_proto created_at
2.12 GET /snapshots/{}: provider_location
2.17 GET /snapshots/{}: user_id project_id
2.73 GET /snapshots/{}: metadata
2.0 GET /share-networks/{}: id name project_id description created_at updated_at
2.0-2.50 GET /share-networks/{}: neutron_net_id neutron_subnet_id network_type segmentation_id
2.0-2.50 GET /share-networks/{}: cidr ip_version
2.0-2.25 GET /share-networks/{}: nova_net_id
2.18-2.50 GET /share-networks/{}: gateway
2.20-2.50 GET /share-networks/{}: mtu
2.51 GET /share-networks/{}: share_network_subnets
2.63 GET /share-networks/{}: status security_service_update_support
2.70 GET /share-networks/{}: network_allocation_update_support
2.78 GET /share-networks/{}/subnets/{}: metadata
2.0 GET /share-servers/{}: id project_id status host share_network_id share_network_name
2.0 GET /share-servers/{}: updated_at created_at backend_details
2.49 GET /share-servers/{}: is_auto_deletable identifier
2.51-2.69 GET /share-servers/{}: share_network_subnet_id
2.57 GET /share-servers/{}: task_state source_share_server_id
2.70 GET /share-servers/{}: share_network_subnet_ids
2.90 GET /share-servers/{}: encryption_key_ref
2.0 GET /types/{}: id name extra_specs required_extra_specs
2.0-2.6 GET /types/{}: os-share-type-access:is_public
2.7 GET /types/{}: share_type_access:is_public
2.41 GET /types/{}: description
2.46 GET /types/{}: is_default
2.83 GET /services: disabled_reason
2.86 GET /services: ensuring
2.37 GET /messages/{}: id project_id action_id detail_id message_level user_message
2.37 GET /messages/{}: resource_type resource_id request_id created_at expires_at
"""
