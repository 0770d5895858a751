"""The use cases: move one VM, a plan of VMs, a test copy; judge beforehand, resolve afterwards."""
