"""Root disks: a distribution's packages made into a system that boots, without root and without its tools."""
