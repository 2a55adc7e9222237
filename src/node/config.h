/* The options of `microcloud run`: command line first, then the configuration file, then defaults.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct node_config {
    char *data, *name, *address, *bind, *config_file, *join, *log_level;
    char *tls_certificate, *tls_key, *tls_ca, *mqtt_socket, *user;
    int mqtt_port, mqtts_port, http_port, https_port, peer_port;
    bool require_client_certificate, proxy_protocol, witness, rescue, no_discovery, no_keeper;
};

/* Reads argv (argv[0] is "run"). 0, or the exit status with `error` set: 2 for wrong usage, 1 for a
 * bad file. Messages name option, file and key. */
int node_config_load(struct node_config *config, int argc, char **argv, GError **error);
/* As `witness` in the configuration: it serves nobody, whatever ports are given. */
void node_config_be_witness(struct node_config *config);
void node_config_deinit(struct node_config *config);
