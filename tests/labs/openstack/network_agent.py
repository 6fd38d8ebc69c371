"""Say that an Open vSwitch agent lives on a host: network_agent.py DATABASE HOST.

Neutron's own mechanism driver then binds ports there, which without any agent it refuses.
"""

import json
import sqlite3
import sys
import uuid

database, host = sys.argv[1:]
connection = sqlite3.connect(database)
columns = [row[1] for row in connection.execute("pragma table_info(agents)")]
configurations = {
    "bridge_mappings": {},
    "tunnel_types": [],
    "tunneling_ip": None,
    "datapath_type": "system",
    "ovs_hybrid_plug": False,
    "vhostuser_socket_dir": "/run",
    "ovs_capabilities": {"datapath_types": [], "iface_types": []},
}
agent = {
    "id": str(uuid.uuid4()),
    "agent_type": "Open vSwitch agent",
    "binary": "neutron-openvswitch-agent",
    "topic": "N/A",
    "host": host,
    "admin_state_up": 1,
    "created_at": "2026-01-01 00:00:00",
    "started_at": "2026-01-01 00:00:00",
    "heartbeat_timestamp": "2099-01-01 00:00:00",
    "load": 0,
    "availability_zone": None,
    "description": None,
    "resource_versions": None,
    "resources_synced": None,
    "configurations": json.dumps(configurations),
}
names = [name for name in agent if name in columns]
places = ",".join("?" * len(names))
connection.execute(
    f"insert into agents ({','.join(names)}) values ({places})", [agent[name] for name in names]
)
connection.commit()
