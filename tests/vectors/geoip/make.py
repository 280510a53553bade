"""Writes countries.mmdb, a database in the MaxMind format with the keys of GeoLite2-City that the tests need.

    pip install mmdb_writer==0.2.7 && python3 make.py countries.mmdb

Its networks are those for documentation (RFC 5737, RFC 3849) and, for tests over loopback, parts of 127.0.0.0/8.
"""
import sys

from mmdb_writer import MMDBWriter
from netaddr import IPSet

NETWORKS = {
    "AT": ["192.0.2.0/24", "2001:db8:a::/48", "127.0.0.0/24"],
    "US": ["198.51.100.0/24", "2001:db8:b::/48", "127.0.1.0/24"],
    "DE": ["203.0.113.0/24", "2001:db8:c::/48"],
}

writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City", languages=["en"],
                    description="Countries of documentation networks")
for code, networks in NETWORKS.items():
    writer.insert_network(IPSet(networks), {"city": {"names": {"en": f"Town of {code}"}},
                                            "country": {"geoname_id": 1, "iso_code": code, "names": {"en": code}}})
# Known to the database, but without a country, as satellite networks are.
writer.insert_network(IPSet(["127.0.2.0/24"]), {"traits": {"is_satellite_provider": True}})
writer.to_db_file(sys.argv[1])
