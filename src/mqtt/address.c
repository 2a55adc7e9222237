/* See address.h: a table from address to its count; an entry lives as long as somebody is connected
 * from there. */
#include "mqtt/address.h"
#include "mqtt/broker_private.h"
#include "net/stream.h"

struct address *address_enter(struct broker *broker, const struct stream_peer *peer)
{
    const char *text = peer->address ? peer->address : "local";
    struct address *address = g_hash_table_lookup(broker->per_address, text);

    if (!address) {
        size_t length = strlen(text);
        address = g_malloc0(sizeof *address + length + 1);
        memcpy(address->text, text, length);
        address->is_loopback = peer->is_loopback;
        g_hash_table_insert(broker->per_address, address->text, address);
    } else if (!address->is_loopback &&
               address->connections >= broker->settings->connections_per_address_max) {
        return NULL;
    }
    address->connections++;
    return address;
}

void address_leave(struct broker *broker, struct address *address)
{
    if (address && --address->connections == 0) {
        g_hash_table_remove(broker->per_address, address->text);
        g_free(address);
    }
}
