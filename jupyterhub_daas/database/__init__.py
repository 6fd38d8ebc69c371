"""The services' own data: engine and migrations. Nothing here touches the hub's database."""
