/* A small MQTT 5 client over WebSocket: connects, subscribes with one filter, hands on what arrives.
 *
 *   const mqtt = new Mqtt({url, clientId, username, password, filter, onMessage, onState});
 *   mqtt.start(); mqtt.watch('home/#'); mqtt.stop();
 *
 * onState gets 'connecting', 'open', 'lost' (it tries again by itself) or 'refused' (a reason is given; it stops). */

const CONNECT = 1, CONNACK = 2, PUBLISH = 3, SUBSCRIBE = 8, SUBACK = 9, UNSUBSCRIBE = 10, PINGREQ = 12, PINGRESP = 13, DISCONNECT = 14;
const KEEP_ALIVE_S = 30;
const RETRY_MS_MAX = 15000;
const PACKET_BYTES_MAX = 4 * 1024 * 1024;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

const REASONS = {
    0x81: 'a packet was malformed', 0x82: 'a protocol error', 0x86: 'user name or password is wrong', 0x87: 'not allowed for this user',
    0x88: 'the broker is not available', 0x89: 'the broker is busy', 0x8b: 'the broker is stopping', 0x8e: 'taken over by another tab',
    0x8f: 'this is no topic filter', 0x95: 'a packet was too large', 0x97: 'a limit is reached', 0x98: 'ended by an administrator',
    0x9c: 'use another node', 0x9d: 'the node has moved',
};

export function reasonText(code) {
    return REASONS[code] ?? `reason 0x${code.toString(16)}`;
}

function numberBytes(value) { /* a variable byte integer */
    const bytes = [];
    do {
        bytes.push((value & 127) | (value > 127 ? 128 : 0));
        value >>>= 7;
    } while (value > 0);
    return bytes;
}

function textBytes(text) {
    const bytes = encoder.encode(text);
    return [bytes.length >> 8, bytes.length & 255, ...bytes];
}

function packet(type, flags, body) {
    return new Uint8Array([(type << 4) | flags, ...numberBytes(body.length), ...body]);
}

/* Reads numbers and texts from the body of a packet. */
class Reader {
    constructor(bytes) {
        this.bytes = bytes;
        this.at = 0;
    }
    byte() {
        if (this.at >= this.bytes.length) {
            throw new RangeError('the packet is too short');
        }
        return this.bytes[this.at++];
    }
    short() {
        return (this.byte() << 8) | this.byte();
    }
    number() {
        let value = 0;
        for (let shift = 0; shift < 28; shift += 7) {
            const byte = this.byte();
            value += (byte & 127) * 2 ** shift;
            if (byte < 128) {
                return value;
            }
        }
        throw new RangeError('a length is too long');
    }
    take(length) {
        if (this.at + length > this.bytes.length) {
            throw new RangeError('the packet is too short');
        }
        this.at += length;
        return this.bytes.subarray(this.at - length, this.at);
    }
    text() {
        return decoder.decode(this.take(this.short()));
    }
}

export class Mqtt {
    constructor(options) {
        this.options = options;
        this.filter = options.filter;
        this.packetId = 0;
        this.failures = 0;
    }

    start() {
        this.stopped = false;
        this.waiting = new Uint8Array(0);
        this.report('connecting');
        const socket = this.socket = new WebSocket(this.options.url, 'mqtt');
        socket.binaryType = 'arraybuffer';
        socket.onopen = () => this.sendConnect();
        socket.onmessage = event => socket === this.socket && this.receive(new Uint8Array(event.data));
        socket.onclose = () => socket === this.socket && this.lost();
    }

    stop() {
        this.stopped = true;
        clearTimeout(this.retry);
        clearInterval(this.pinger);
        if (this.socket?.readyState === WebSocket.OPEN) {
            this.send(DISCONNECT, 0, []);
        }
        this.socket?.close();
        this.socket = null;
    }

    /* From now on this filter; null for none. */
    watch(filter) {
        const old = this.filter;
        this.filter = filter;
        if (!this.isOpen) {
            return;
        }
        if (old !== null && old !== filter) {
            this.send(UNSUBSCRIBE, 2, [...this.nextId(), 0, ...textBytes(old)]);
        }
        this.subscribe();
    }

    /* ---- inside ---- */

    report(state, reason) {
        this.isOpen = state === 'open';
        this.options.onState(state, reason);
    }

    nextId() {
        this.packetId = this.packetId % 65535 + 1;
        return [this.packetId >> 8, this.packetId & 255];
    }

    send(type, flags, body) {
        if (this.socket?.readyState === WebSocket.OPEN) {
            this.socket.send(packet(type, flags, body));
        }
    }

    sendConnect() {
        const {clientId, username, password} = this.options;
        const flags = 2 | (password != null ? 64 : 0) | (username != null ? 128 : 0); /* 2: clean start */
        this.send(CONNECT, 0, [...textBytes('MQTT'), 5, flags, 0, KEEP_ALIVE_S, 0, ...textBytes(clientId),
            ...(username != null ? textBytes(username) : []), ...(password != null ? textBytes(password) : [])]);
    }

    /* QoS 0; 0x28: as retained as published, nothing retained from before. */
    subscribe() {
        if (this.filter !== null) {
            this.send(SUBSCRIBE, 2, [...this.nextId(), 0, ...textBytes(this.filter), 0x28]);
        }
    }

    lost() {
        clearInterval(this.pinger);
        if (this.stopped) {
            return;
        }
        this.report('lost');
        this.retry = setTimeout(() => this.start(), Math.min(500 * 2 ** this.failures++, RETRY_MS_MAX));
    }

    refuse(reason) {
        this.stop();
        this.report('refused', reason);
    }

    /* Frames and packets need not begin and end together. */
    receive(bytes) {
        const all = new Uint8Array(this.waiting.length + bytes.length);
        all.set(this.waiting);
        all.set(bytes, this.waiting.length);
        let at = 0;
        try {
            for (let length; (length = this.packetLength(all.subarray(at))) > 0; at += length) {
                this.handle(all.subarray(at, at + length));
            }
        } catch (error) {
            if (!(error instanceof RangeError)) {
                throw error;
            }
            this.socket?.close(); /* not MQTT: begin anew */
            return;
        }
        this.waiting = all.slice(at);
    }

    /* Of the packet that begins here; 0 when it is not all there. */
    packetLength(bytes) {
        let length = 0;
        for (let i = 1; i < bytes.length && i < 5; i++) {
            length += (bytes[i] & 127) * 128 ** (i - 1);
            if (bytes[i] < 128) {
                if (length > PACKET_BYTES_MAX) {
                    throw new RangeError('the packet is too long');
                }
                return i + 1 + length <= bytes.length ? i + 1 + length : 0;
            }
        }
        if (bytes.length >= 5) {
            throw new RangeError('a length is too long');
        }
        return 0;
    }

    handle(bytes) {
        const reader = new Reader(bytes);
        const first = reader.byte();
        reader.number();
        switch (first >> 4) {
        case CONNACK:
            return this.onConnack(reader);
        case SUBACK:
            return this.onSuback(reader);
        case PUBLISH:
            return this.onPublish(first, reader);
        case DISCONNECT:
            return this.onDisconnect(reader);
        case PINGRESP:
            this.isPinged = false;
        }
    }

    onConnack(reader) {
        reader.byte();
        const code = reader.byte();
        if (code >= 0x88 && code <= 0x8b) {
            this.socket?.close(); /* later */
        } else if (code !== 0) {
            this.refuse(reasonText(code));
        } else {
            this.failures = 0;
            this.isPinged = false;
            clearInterval(this.pinger);
            this.pinger = setInterval(() => this.ping(), KEEP_ALIVE_S * 500);
            this.report('open');
            this.subscribe();
        }
    }

    /* A broker that does not answer is gone, though the socket may not know it yet. */
    ping() {
        if (this.isPinged) {
            const socket = this.socket;
            this.socket = null;
            socket?.close();
            this.lost();
            return;
        }
        this.isPinged = true;
        this.send(PINGREQ, 0, []);
    }

    onSuback(reader) {
        reader.short();
        reader.take(reader.number());
        const code = reader.byte();
        if (code >= 0x80) {
            this.options.onState('filter', reasonText(code));
        }
    }

    onDisconnect(reader) {
        const code = reader.at < reader.bytes.length ? reader.byte() : 0;
        if (code === 0x98 || code === 0x87) {
            this.refuse(reasonText(code));
        }
    }

    onPublish(first, reader) {
        const topic = reader.text();
        const qos = (first >> 1) & 3;
        if (qos > 0) {
            reader.short(); /* we never ask for more than QoS 0 */
        }
        reader.take(reader.number());
        this.options.onMessage({topic, qos, retain: (first & 1) === 1, payload: reader.bytes.slice(reader.at)});
    }
}
