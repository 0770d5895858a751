"""The data plane's processes and how their site commands them.

A gateway sits in a reserved subnet of a cloud, dials its own site, and starts there the workers that read and
write disks. `hub` is the site's end, `agent` the gateway's.
"""
