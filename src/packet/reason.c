/* Names of reason codes, and what they are in the CONNACK of 3.1.1. */
#include "packet/reason.h"
#include <stddef.h>

static const char *const names[] = {
    [REASON_SUCCESS] = "success",
    [REASON_GRANTED_QOS_1] = "granted QoS 1",
    [REASON_GRANTED_QOS_2] = "granted QoS 2",
    [REASON_DISCONNECT_WITH_WILL] = "disconnect with will message",
    [REASON_NO_MATCHING_SUBSCRIBERS] = "no matching subscribers",
    [REASON_NO_SUBSCRIPTION_EXISTED] = "no subscription existed",
    [REASON_CONTINUE_AUTHENTICATION] = "continue authentication",
    [REASON_RE_AUTHENTICATE] = "re-authenticate",
    [REASON_UNSPECIFIED] = "unspecified error",
    [REASON_MALFORMED_PACKET] = "malformed packet",
    [REASON_PROTOCOL_ERROR] = "protocol error",
    [REASON_IMPLEMENTATION_SPECIFIC] = "implementation specific error",
    [REASON_UNSUPPORTED_VERSION] = "unsupported protocol version",
    [REASON_CLIENT_ID_NOT_VALID] = "client identifier not valid",
    [REASON_BAD_USERNAME_OR_PASSWORD] = "bad user name or password",
    [REASON_NOT_AUTHORIZED] = "not authorized",
    [REASON_SERVER_UNAVAILABLE] = "server unavailable",
    [REASON_SERVER_BUSY] = "server busy",
    [REASON_BANNED] = "banned",
    [REASON_SERVER_SHUTTING_DOWN] = "server shutting down",
    [REASON_BAD_AUTH_METHOD] = "bad authentication method",
    [REASON_KEEP_ALIVE_TIMEOUT] = "keep alive timeout",
    [REASON_SESSION_TAKEN_OVER] = "session taken over",
    [REASON_TOPIC_FILTER_INVALID] = "topic filter invalid",
    [REASON_TOPIC_NAME_INVALID] = "topic name invalid",
    [REASON_PACKET_ID_IN_USE] = "packet identifier in use",
    [REASON_PACKET_ID_NOT_FOUND] = "packet identifier not found",
    [REASON_RECEIVE_MAXIMUM_EXCEEDED] = "receive maximum exceeded",
    [REASON_TOPIC_ALIAS_INVALID] = "topic alias invalid",
    [REASON_PACKET_TOO_LARGE] = "packet too large",
    [REASON_MESSAGE_RATE_TOO_HIGH] = "message rate too high",
    [REASON_QUOTA_EXCEEDED] = "quota exceeded",
    [REASON_ADMINISTRATIVE_ACTION] = "administrative action",
    [REASON_PAYLOAD_FORMAT_INVALID] = "payload format invalid",
    [REASON_RETAIN_NOT_SUPPORTED] = "retain not supported",
    [REASON_QOS_NOT_SUPPORTED] = "QoS not supported",
    [REASON_USE_ANOTHER_SERVER] = "use another server",
    [REASON_SERVER_MOVED] = "server moved",
    [REASON_SHARED_NOT_SUPPORTED] = "shared subscriptions not supported",
    [REASON_CONNECTION_RATE_EXCEEDED] = "connection rate exceeded",
    [REASON_MAXIMUM_CONNECT_TIME] = "maximum connect time",
    [REASON_SUBSCRIPTION_ID_NOT_SUPPORTED] = "subscription identifiers not supported",
    [REASON_WILDCARD_NOT_SUPPORTED] = "wildcard subscriptions not supported",
};

const char *reason_to_string(uint8_t reason)
{
    const char *name = reason < sizeof names / sizeof *names ? names[reason] : NULL;
    return name ? name : "unknown reason";
}

uint8_t reason_to_connack_3(uint8_t reason)
{
    switch (reason) {
    case REASON_SUCCESS:
        return 0;
    case REASON_UNSUPPORTED_VERSION:
        return 1;
    case REASON_CLIENT_ID_NOT_VALID:
        return 2;
    case REASON_BAD_USERNAME_OR_PASSWORD:
        return 4;
    case REASON_NOT_AUTHORIZED:
    case REASON_BANNED:
    case REASON_BAD_AUTH_METHOD:
        return 5;
    default:
        return 3;
    }
}

uint8_t reason_from_connack_3(uint8_t code)
{
    static const uint8_t reasons[] = {REASON_SUCCESS,
                                      REASON_UNSUPPORTED_VERSION,
                                      REASON_CLIENT_ID_NOT_VALID,
                                      REASON_SERVER_UNAVAILABLE,
                                      REASON_BAD_USERNAME_OR_PASSWORD,
                                      REASON_NOT_AUTHORIZED};
    return code < sizeof reasons ? reasons[code] : REASON_UNSPECIFIED;
}
