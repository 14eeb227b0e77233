"""Makes and changes keys of a KMIP server, as its operator: kmip_operator.py PORT FOLDER VERB [ID]; prints the id."""

import sys

from kmip.core import enums
from kmip.pie import client

port, folder, verb, *rest = sys.argv[1:]
masks = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
reasons = {
    "deactivate": enums.RevocationReasonCode.CESSATION_OF_OPERATION,
    "compromise": enums.RevocationReasonCode.KEY_COMPROMISE,
}
with client.ProxyKmipClient(
    hostname="127.0.0.1",
    port=int(port),
    cert=f"{folder}/client.pem",
    key=f"{folder}/client.key",
    ca=f"{folder}/ca.pem",
    ssl_version="PROTOCOL_TLSv1_2",
    kmip_version=enums.KMIPVersion.KMIP_1_4,
) as server:
    if verb == "create":
        print(server.create(enums.CryptographicAlgorithm.AES, 256, cryptographic_usage_mask=masks))
    elif verb == "activate":
        server.activate(rest[0])
    elif verb == "destroy":
        server.destroy(rest[0])
    else:
        server.revoke(reasons[verb], rest[0])
