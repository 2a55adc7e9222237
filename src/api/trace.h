/* `GET /v1/clients/ID/trace`: the packets of one client as server-sent events. */
#pragma once

struct api;

void traces_stop(struct api *api);
