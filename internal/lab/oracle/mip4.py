"""Mobile IP registration messages, read and written with Scapy's base layers.

It shares nothing with careof but the RFCs (5944, 2794, 3519, 3024), on purpose.
Each line of the standard input is a JSON object with a task, each line of the
standard output one with the answer:

  {"do": "read", "packet": HEX, "keys": {SPI: {"key": HEX, "algorithm": NAME}}}
  {"do": "read-message", "message": HEX, "keys": ...}    without IP and UDP
  {"do": "request", "from": [IP, PORT], "to": [IP, PORT], "fields": {...},
   "extensions": [[TYPE, HEX], ...], "auth": [[TYPE, SPI], ...], "keys": ...}
  {"do": "reply", ... the same ...}
"""
import hashlib
import hmac
import json
import sys

from scapy.compat import raw
from scapy.fields import (ByteField, FieldLenField, FlagsField, IPField, LongField, PacketListField,
                          ShortField, StrLenField)
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet, bind_layers

# The extensions with Type, Sub-Type and a Length of two octets (RFC 5944 section
# 1.10, and the drawings of 3115, 3957, 4721, 5563, 6245, 6521, 7629).
LONG = {36, 38, 40, 41, 42, 43, 47, 48, 49, 50, 127, 154}


class Short(Packet):
    fields_desc = [ByteField("type", 0), FieldLenField("length", None, length_of="data", fmt="B"),
                   StrLenField("data", b"", length_from=lambda p: p.length)]

    def extract_padding(self, s):
        return b"", s


class Long(Packet):
    fields_desc = [ByteField("type", 0), ByteField("sub", 0), FieldLenField("length", None, length_of="data", fmt="H"),
                   StrLenField("data", b"", length_from=lambda p: p.length)]

    def extract_padding(self, s):
        return b"", s


class Pad(Packet):
    fields_desc = [ByteField("type", 0)]

    def extract_padding(self, s):
        return b"", s


def extension(octets, **_):
    if octets[0] == 0:
        return Pad(octets)
    return Long(octets) if octets[0] in LONG else Short(octets)


class Request(Packet):
    fields_desc = [ByteField("type", 1), FlagsField("flags", 0, 8, ["x", "T", "r", "G", "M", "D", "B", "S"]), ShortField("lifetime", 0),
                   IPField("home", "0.0.0.0"), IPField("agent", "0.0.0.0"), IPField("careof", "0.0.0.0"), LongField("identification", 0),
                   PacketListField("extensions", [], extension)]


class Reply(Packet):
    fields_desc = [ByteField("type", 3), ByteField("code", 0), ShortField("lifetime", 0),
                   IPField("home", "0.0.0.0"), IPField("agent", "0.0.0.0"), LongField("identification", 0),
                   PacketListField("extensions", [], extension)]


class Message(Packet):
    """What port 434 carries, told apart by its first octet."""

    @classmethod
    def dispatch_hook(cls, octets=None, *_, **__):
        return {1: Request, 3: Reply}.get(octets[0] if octets else 0, cls)


bind_layers(UDP, Message, dport=434)
bind_layers(UDP, Message, sport=434)

# Mobile-Home, Mobile-Foreign, Foreign-Home (RFC 5944 sections 3.5.2 to 3.5.4).
AUTHENTICATION = {32, 33, 34}


def sign(k, covered):
    key = bytes.fromhex(k["key"])
    if k["algorithm"] == "keyed-md5":  # prefix and suffix: RFC 2002 section 3.5.1
        return hashlib.md5(key + covered + key).digest()
    return hmac.new(key, covered, k["algorithm"].removeprefix("hmac-")).digest()


def describe(m, keys):
    """All fields, all extensions, and whether each authenticator is right.

    "the UDP payload (that is, the Registration Request or Registration Reply
    data), all prior extensions in their entirety, and the Type, Length, and SPI
    of this extension" (RFC 5944 section 3.5.1).
    """
    octets = raw(m)
    at = 24 if m.type == 1 else 20
    said = {"type": m.type, "lifetime": m.lifetime, "home": m.home, "agent": m.agent, "identification": "%016x" % m.identification,
            "extensions": [], "authenticators": {}}
    if m.type == 1:
        said |= {"careof": m.careof, "flags": int(m.flags)}
    else:
        said["code"] = m.code
    for e in m.extensions:
        data = getattr(e, "data", b"")
        said["extensions"].append([e.type, raw(e).hex()])
        if e.type in AUTHENTICATION:
            spi = int.from_bytes(data[:4], "big")
            k = keys.get(str(spi))
            right = k is not None and hmac.compare_digest(sign(k, octets[:at + 6]), data[4:])
            said["authenticators"][str(e.type)] = {"spi": spi, "right": right}
        at += len(raw(e))
    said["whole"] = at == len(octets)
    return said


def build(task, message):
    m = message(**{k: int(v, 16) if k == "identification" else v for k, v in task["fields"].items()})
    for kind, data in task["extensions"]:
        m.extensions.append(Short(type=kind, data=bytes.fromhex(data)))
    for kind, spi in task["auth"]:
        k = task["keys"][str(spi)]
        size = len(sign(k, b""))
        head = bytes([kind, 4 + size]) + spi.to_bytes(4, "big")
        m.extensions.append(Short(type=kind, data=head[2:] + sign(k, raw(m) + head)))
    source, target = task["from"], task["to"]
    packet = IP(src=source[0], dst=target[0], id=1, ttl=64) / UDP(sport=source[1], dport=target[1]) / m
    return {"packet": raw(packet).hex(), "message": raw(m).hex()}


def read(octets, keys):
    p = IP(octets)
    for layer in (IP, UDP):
        said = p[layer].chksum
        again = p.copy()
        del again[layer].chksum
        if said != type(p)(raw(again))[layer].chksum:
            raise ValueError("the checksum of " + layer.__name__ + " is wrong")
    m = p[Request] if Request in p else p[Reply]
    return describe(m, keys) | {"from": [p.src, p[UDP].sport], "to": [p.dst, p[UDP].dport], "ttl": p.ttl}


def answer(task):
    match task["do"]:
        case "read":
            return read(bytes.fromhex(task["packet"]), task["keys"])
        case "read-message":
            return describe(Message(bytes.fromhex(task["message"])), task["keys"])
        case "request":
            return build(task, Request)
        case "reply":
            return build(task, Reply)
    raise ValueError("unknown task")


for line in sys.stdin:
    try:
        said = answer(json.loads(line))
    except Exception as e:  # the test shows it
        said = {"error": repr(e)}
    print(json.dumps(said), flush=True)
