"""`tallyhook doctor` examines everything that the system needs, changes nothing, and names a remedy for each fault."""
