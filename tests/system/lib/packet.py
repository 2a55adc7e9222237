"""MQTT packets as bytes, for 3.1, 3.1.1 and 5. Every part can be given wrongly on purpose: flags, lengths, properties twice.

Properties are a list of (id, value), in the order in which they are written; a value is int, str, bytes or, for
user properties, a pair of str.
"""
import dataclasses
import socket
import struct

(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ,
 PINGRESP, DISCONNECT, AUTH) = range(1, 16)
NAMES = ("RESERVED CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK PINGREQ "
         "PINGRESP DISCONNECT AUTH").split()

# What a property is made of.
PROPERTIES = {
    "payload_format": (0x01, "B"), "message_expiry": (0x02, "I"), "content_type": (0x03, "s"),
    "response_topic": (0x08, "s"), "correlation_data": (0x09, "b"), "subscription_id": (0x0b, "v"),
    "session_expiry": (0x11, "I"), "assigned_client_id": (0x12, "s"), "server_keep_alive": (0x13, "H"),
    "auth_method": (0x15, "s"), "auth_data": (0x16, "b"), "request_problem": (0x17, "B"),
    "will_delay": (0x18, "I"), "request_response": (0x19, "B"), "response_information": (0x1a, "s"),
    "server_reference": (0x1c, "s"), "reason_string": (0x1f, "s"), "receive_maximum": (0x21, "H"),
    "topic_alias_maximum": (0x22, "H"), "topic_alias": (0x23, "H"), "maximum_qos": (0x24, "B"),
    "retain_available": (0x25, "B"), "user": (0x26, "p"), "maximum_packet": (0x27, "I"),
    "wildcard_available": (0x28, "B"), "subscription_id_available": (0x29, "B"), "shared_available": (0x2a, "B")}
BY_ID = {number: (name, form) for name, (number, form) in PROPERTIES.items()}
SIZES = {"B": 1, "H": 2, "I": 4}


def raw(value):
    return value if isinstance(value, bytes) else value.encode()


def sized(value):
    value = raw(value)
    return struct.pack(">H", len(value)) + value


def varint(number):
    out = b""
    while True:
        number, low = number >> 7, number & 0x7f
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


def one_property(name, value):
    number, form = PROPERTIES[name]
    head = bytes([number])
    if form in SIZES:
        return head + struct.pack(">" + form, value)
    if form == "v":
        return head + varint(value)
    if form == "p":
        return head + sized(value[0]) + sized(value[1])
    return head + sized(value)


def block(properties):
    """The property block; bytes are taken as they are, without a length of their own."""
    if not isinstance(properties, bytes):
        properties = b"".join(one_property(name, value) for name, value in properties)
    return varint(len(properties)) + properties


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


@dataclasses.dataclass
class Will:
    topic: object
    payload: object = b""
    qos: int = 0
    retain: bool = False
    properties: object = ()


def connect(client_id="", version=5, clean=True, keep_alive=0, username=None, password=None, will=None, properties=(),
            flags=None, name=None, level=None):
    name = name if name is not None else "MQIsdp" if version == 3 else "MQTT"
    if flags is None:
        flags = (clean << 1) | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
        flags |= 0x04 | will.qos << 3 | will.retain << 5 if will else 0
    body = sized(name) + bytes([level if level is not None else version, flags]) + struct.pack(">H", keep_alive)
    body += block(properties) if version == 5 else b""
    body += sized(client_id)
    if will:
        body += (block(will.properties) if version == 5 else b"") + sized(will.topic) + sized(will.payload)
    body += sized(username) if username is not None else b""
    body += sized(password) if password is not None else b""
    return packet(CONNECT, 0, body)


def publish(topic, payload=b"", qos=0, packet_id=0, retain=False, dup=False, properties=(), version=5):
    body = sized(topic) + (struct.pack(">H", packet_id) if qos else b"")
    body += block(properties) if version == 5 else b""
    return packet(PUBLISH, dup << 3 | qos << 1 | retain, body + raw(payload))


def ack(kind, packet_id, reason=None, properties=None, flags=None):
    body = struct.pack(">H", packet_id) + (bytes([reason]) if reason is not None else b"")
    body += block(properties) if properties is not None else b""
    return packet(kind, (2 if kind == PUBREL else 0) if flags is None else flags, body)


def options(qos=0, no_local=False, as_published=False, handling=0):
    return qos | no_local << 2 | as_published << 3 | handling << 4


def subscribe(packet_id, filters, properties=(), version=5, flags=2):
    """filters: pairs of filter and options byte."""
    body = struct.pack(">H", packet_id) + (block(properties) if version == 5 else b"")
    return packet(SUBSCRIBE, flags, body + b"".join(sized(text) + bytes([opts]) for text, opts in filters))


def unsubscribe(packet_id, filters, properties=(), version=5, flags=2):
    body = struct.pack(">H", packet_id) + (block(properties) if version == 5 else b"")
    return packet(UNSUBSCRIBE, flags, body + b"".join(sized(text) for text in filters))


def pingreq():
    return packet(PINGREQ, 0, b"")


def disconnect(reason=None, properties=None, flags=0):
    body = (bytes([reason]) if reason is not None else b"") + (block(properties) if properties is not None else b"")
    return packet(DISCONNECT, flags, body)


def auth(reason, properties=(), flags=0):
    return packet(AUTH, flags, bytes([reason]) + block(properties))


# ---- PROXY protocol, version 2 ----

PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def proxy_header(source, port=40000, family=socket.AF_INET, command=1):
    """What a proxy writes in front of a connection: who it comes from."""
    is_6 = family == socket.AF_INET6
    addresses = socket.inet_pton(family, source) + socket.inet_pton(family, "::" if is_6 else "0.0.0.0")
    body = addresses + struct.pack(">HH", port, 1883)
    return PROXY_SIGNATURE + bytes([0x20 | command, 0x21 if is_6 else 0x11]) + struct.pack(">H", len(body)) + body


# ---- decoding: strict, for what the server sends must be right ----

class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        assert self.left() >= count, "the packet ends too early"
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(SIZES[form]))[0]

    def binary(self):
        return self.take(self.number("H"))

    def text(self):
        text = self.binary().decode()
        assert "\0" not in text
        return text

    def varint(self):
        value, start = 0, self.at
        for shift in (0, 7, 14, 21):
            byte = self.number("B")
            value |= (byte & 0x7f) << shift
            if not byte & 0x80:
                break
        else:
            raise AssertionError("a length of more than four bytes")
        assert self.data[start:self.at] == varint(value), "not the shortest length"
        return value

    def properties(self):
        end = self.varint() + self.at
        found = []
        while self.at < end:
            name, form = BY_ID[self.varint()]
            if form in SIZES:
                value = self.number(form)
            elif form == "v":
                value = self.varint()
            elif form == "p":
                value = (self.text(), self.text())
            else:
                value = self.binary() if form == "b" else self.text()
            assert name in ("user", "subscription_id") or name not in (other for other, _ in found), f"{name} twice"
            found.append((name, value))
        assert self.at == end, "properties longer than they say"
        return found


@dataclasses.dataclass
class Packet:
    kind: int
    flags: int
    size: int  # on the wire
    packet_id: int = 0
    reason: int = 0
    properties: list = dataclasses.field(default_factory=list)
    session_present: bool = False
    reasons: list = dataclasses.field(default_factory=list)
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False

    def property(self, name, default=None):
        return next((value for other, value in self.properties if other == name), default)

    def all(self, name):
        return [value for other, value in self.properties if other == name]

    def __str__(self):
        more = f" {self.topic} {self.payload[:40]!r} qos={self.qos}" if self.kind == PUBLISH else ""
        return f"{NAMES[self.kind]} id={self.packet_id} reason=0x{self.reason:02x} {self.reasons} {self.properties}{more}"


ALLOWED = {  # what the server may say in MQTT 5
    CONNACK: {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99,
              0x9a, 0x9b, 0x9c, 0x9d, 0x9f},
    PUBACK: {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREC: {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREL: {0x00, 0x92}, PUBCOMP: {0x00, 0x92},
    SUBACK: {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2},
    UNSUBACK: {0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91},
    DISCONNECT: {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
                 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2},
    AUTH: {0x00, 0x18, 0x19}}
# What may stand in which packet from the server.
MAY_HAVE = {
    CONNACK: {"session_expiry", "assigned_client_id", "server_keep_alive", "auth_method", "auth_data",
              "response_information", "server_reference", "reason_string", "receive_maximum", "topic_alias_maximum",
              "maximum_qos", "retain_available", "user", "maximum_packet", "wildcard_available",
              "subscription_id_available", "shared_available"},
    PUBLISH: {"payload_format", "message_expiry", "content_type", "response_topic", "correlation_data",
              "subscription_id", "topic_alias", "user"},
    DISCONNECT: {"reason_string", "user", "server_reference"},  # never session_expiry (3.14.2-2)
    AUTH: {"auth_method", "auth_data", "reason_string", "user"}}
ANSWER = {"reason_string", "user"}


def decode_publish(reader, out, version):
    out.qos, out.retain, out.dup = out.flags >> 1 & 3, bool(out.flags & 1), bool(out.flags & 8)
    assert out.qos < 3 and not (out.dup and out.qos == 0), f"flags of PUBLISH: {out.flags}"
    out.topic = reader.text()
    if out.qos:
        out.packet_id = reader.number("H")
        assert out.packet_id, "packet id 0"
    if version == 5:
        out.properties = reader.properties()
    out.payload = reader.take(reader.left())


def decode_connack(reader, out, version):
    flags = reader.number("B")
    assert flags < 2, "reserved connect acknowledge flags"
    out.session_present = flags == 1
    out.reason = reader.number("B")
    if version == 5:
        out.properties = reader.properties()


def decode(first, body, size, version):
    """The packet that these bytes are; fails when a server may not send it so."""
    out = Packet(first >> 4, first & 15, size)
    reader = Reader(body)
    assert out.kind == PUBLISH or out.flags == (2 if out.kind == PUBREL else 0), f"flags of {NAMES[out.kind]}: {out.flags}"
    if out.kind == PUBLISH:
        decode_publish(reader, out, version)
    elif out.kind == CONNACK:
        decode_connack(reader, out, version)
    elif out.kind in (SUBACK, UNSUBACK):
        out.packet_id = reader.number("H")
        out.properties = reader.properties() if version == 5 else []
        out.reasons = list(reader.take(reader.left()))
    else:
        assert out.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, PINGRESP, DISCONNECT, AUTH), f"{NAMES[out.kind]} from a server"
        if out.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            out.packet_id = reader.number("H")
        if version == 5 and reader.left():
            out.reason = reader.number("B")
            out.properties = reader.properties() if reader.left() else []
    assert reader.left() == 0, f"{reader.left()} bytes too many in {out}"
    if version == 5:
        check(out)
    return out


def check(out):
    if out.kind in ALLOWED:
        for reason in out.reasons or [out.reason]:
            assert reason in ALLOWED[out.kind], f"reason 0x{reason:02x} in {NAMES[out.kind]}"
    for name, _ in out.properties:
        assert name in MAY_HAVE.get(out.kind, ANSWER), f"{name} in {NAMES[out.kind]}"
