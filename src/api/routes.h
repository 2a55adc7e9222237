/* The one table of routes: method, path, who may, and who answers. docs/openapi.yaml is checked
 * against it. */
#pragma once

#include "api/request.h"

struct api_route {
    const char *method;
    const char *path; /* {NAME} stands for one segment, {NAME...} for the rest */
    enum role role;   /* at least; ROLE_NONE = anybody */
    void (*handle)(struct api_request *request);
};

const struct api_route *api_routes(unsigned *count);
/* Finds by method and path and fills the parameters. NULL with `status` 404, 405 or 400 (bad
 * percent-encoding). */
const struct api_route *api_route_find(struct api_request *request, unsigned *status);

void status_get(struct api_request *request);
void digest_get(struct api_request *request);
void doctor_get(struct api_request *request);
void health_get(struct api_request *request);
void metrics_get(struct api_request *request);
void nodes_list(struct api_request *request);
void node_get(struct api_request *request);
void node_delete(struct api_request *request);
void node_drain(struct api_request *request);
void node_activate(struct api_request *request);
void node_promote(struct api_request *request);
void node_demote(struct api_request *request);
void node_label_put(struct api_request *request);
void node_label_delete(struct api_request *request);
void tokens_list(struct api_request *request);
void token_post(struct api_request *request);
void token_delete(struct api_request *request);
void vips_list(struct api_request *request);
void vip_put(struct api_request *request);
void vip_delete(struct api_request *request);
void ca_get(struct api_request *request);
void ca_rotate(struct api_request *request);
void routes_get(struct api_request *request);
void settings_list(struct api_request *request);
void setting_get(struct api_request *request);
void setting_put(struct api_request *request);
void users_list(struct api_request *request);
void user_put(struct api_request *request);
void user_delete(struct api_request *request);
void users_import(struct api_request *request);
void acl_list(struct api_request *request);
void acl_post(struct api_request *request);
void acl_delete(struct api_request *request);
void acl_import(struct api_request *request);
void clients_list(struct api_request *request);
void client_get(struct api_request *request);
void client_delete(struct api_request *request);
void client_trace(struct api_request *request);
void topics_list(struct api_request *request);
void topic_get(struct api_request *request);
void topic_delete(struct api_request *request);
void publish_post(struct api_request *request);
void bridges_list(struct api_request *request);
void login_post(struct api_request *request);
void login_get(struct api_request *request);
void logout_post(struct api_request *request);
void backup_get(struct api_request *request);
void restore_post(struct api_request *request);
void mqtt_get(struct api_request *request);
void page_get(struct api_request *request);
