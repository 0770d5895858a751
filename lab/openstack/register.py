"""Enter service users and endpoints of a cloud into its Keystone: ``register.py CLOUDS_YAML CLOUD HOST``.

The password of the service users is read from the standard input. What is there already stays.
"""

import os
import sys
from typing import Any

import openstack

SERVICES = (
    ("glance", "image", "http://{host}:9292"),
    ("placement", "placement", "http://{host}:8778"),
    ("nova", "compute", "http://{host}:8774/v2.1"),
    ("neutron", "network", "http://{host}:9696"),
    ("cinder", "volumev3", "http://{host}:8776/v3/%(project_id)s"),
)

settings, cloud, host = sys.argv[1:]
password = sys.stdin.read().strip()
os.environ["OS_CLIENT_CONFIG_FILE"] = settings
# Untyped, since what it offers depends on the version that the cloud has.
connection: Any = openstack.connect(cloud=cloud)
identity = connection.identity
project = identity.find_project("service") or identity.create_project(name="service", domain_id="default")
roles = {role.name: role for role in identity.roles()}
if "service" not in roles:
    roles["service"] = identity.create_role(name="service")
users = {user.name: user for user in identity.users()}
services = {service.name: service for service in identity.services()}
endpoints = {(endpoint.service_id, endpoint.interface) for endpoint in identity.endpoints()}
for name, kind, url in SERVICES:
    user = users.get(name) or identity.create_user(
        name=name, password=password, domain_id="default", default_project_id=project.id
    )
    for role in ("admin", "service"):
        identity.assign_project_role_to_user(project, user, roles[role])
    service = services.get(name) or identity.create_service(type=kind, name=name)
    for interface in ("public", "internal"):
        if (service.id, interface) not in endpoints:
            identity.create_endpoint(
                service_id=service.id,
                interface=interface,
                region_id=connection.config.region_name,
                url=url.format(host=host),
            )
