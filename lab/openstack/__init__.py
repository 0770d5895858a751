"""Two independent OpenStack clouds on one machine: ``make lab-openstack`` and ``make lab-openstack-down``.

Each cloud has its own Keystone, Glance, Placement, Nova (libvirt), Neutron (ML2/OVN on a userspace Open
vSwitch), Cinder, RabbitMQ and libvirtd, in network, mount and UTS namespaces of its own. Only the process of
MariaDB is shared; each cloud has its own databases and its own user there.
"""
