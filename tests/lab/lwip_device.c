/* A plug with the TCP of small devices: lwIP (Debian's liblwip) on a TAP device, MQTT 3.1.1 by
 * hand, keep alive 60 s, so that it says nothing by itself for a minute. When its connection is
 * reset it connects again at once, as firmware does. Prints a line for each thing that happens:
 *
 *   connected MS | reset MS | refused MS
 *
 * MS is CLOCK_BOOTTIME in milliseconds. Usage: PRECONFIGURED_TAPIF=TAP lwip-device IP MASK BROKER
 * PORT ID */
#include <lwip/inet_chksum.h>
#include <lwip/ip_addr.h>
#include <lwip/netif.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>
#include <lwip/timeouts.h>
#include <netif/tapif.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS     20
#define KEEP_ALIVE_S 60
#define CONNACK      0x20

struct device {
    struct netif netif;
    ip_addr_t broker;
    u16_t port;
    const char *id;
    struct tcp_pcb *pcb;
    bool is_connected;
};

static void say(const char *what)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    printf("%s %lld\n", what, (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    fflush(stdout);
}

static void connect_again(void *owner);

static err_t on_connected(void *owner, struct tcp_pcb *pcb, err_t error)
{
    const struct device *device = owner;
    u8_t packet[64];
    size_t id = strlen(device->id);
    const u8_t head[] = {0x10, (u8_t)(12 + id), 0, 4,       'M', 'Q', 'T', 'T', 4, 2,
                         0,    KEEP_ALIVE_S,    0, (u8_t)id};

    memcpy(packet, head, sizeof head);
    memcpy(packet + sizeof head, device->id, id);
    tcp_write(pcb, packet, (u16_t)(sizeof head + id), TCP_WRITE_FLAG_COPY);
    return tcp_output(pcb);
}

static void lost(struct device *device)
{
    say(device->is_connected ? "reset" : "refused");
    sys_timeout(device->is_connected ? 0 : RETRY_MS, connect_again, device);
    device->is_connected = false;
    device->pcb = NULL;
}

static err_t on_received(void *owner, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    struct device *device = owner;

    if (!data) {
        tcp_close(pcb);
        lost(device);
        return ERR_OK;
    }
    if (!device->is_connected && *(const u8_t *)data->payload == CONNACK) {
        device->is_connected = true;
        say("connected");
    }
    tcp_recved(pcb, data->tot_len);
    pbuf_free(data);
    return ERR_OK;
}

static void on_error(void *owner, err_t error)
{
    lost(owner); /* lwIP has freed the connection */
}

static void connect_again(void *owner)
{
    struct device *device = owner;

    device->pcb = tcp_new();
    tcp_arg(device->pcb, device);
    tcp_recv(device->pcb, on_received);
    tcp_err(device->pcb, on_error);
    if (tcp_connect(device->pcb, &device->broker, device->port, on_connected) != ERR_OK) {
        tcp_abort(device->pcb);
    }
}

static void on_started(void *owner)
{
    connect_again(owner);
}

int main(int argc, char **argv)
{
    struct device device = {0};
    ip4_addr_t address, mask, none = {0};

    if (argc != 6 || !ip4addr_aton(argv[1], &address) || !ip4addr_aton(argv[2], &mask) ||
        !ipaddr_aton(argv[3], &device.broker) || strlen(argv[5]) > 23) {
        fprintf(stderr, "usage: PRECONFIGURED_TAPIF=TAP lwip-device IP MASK BROKER PORT ID\n");
        return 2;
    }
    device.port = (u16_t)atoi(argv[4]);
    device.id = argv[5];
    tcpip_init(NULL, NULL);
    LOCK_TCPIP_CORE();
    netif_add(&device.netif, &address, &mask, &none, NULL, tapif_init, tcpip_input);
    netif_set_default(&device.netif);
    netif_set_up(&device.netif);
    netif_set_link_up(&device.netif);
    UNLOCK_TCPIP_CORE();
    tcpip_callback(on_started, &device);
    for (;;) {
        pause();
    }
}
