"""How a domain comes to be: a kernel file is unpacked, its ELF image read, the start of day laid out in its frames."""
