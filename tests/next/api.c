/* The route of the next version's command (README.md). */
#include "api/routes.h"
#include "state/next.h"

void setting_delete(struct api_request *request);

void setting_delete(struct api_request *request)
{
    struct state_completion completion = {api_committed, request, 0, 0};

    api_audit(request, "reset", request->parameters[0]);
    api_is_proposed(request, state_propose_setting_reset(request->api->options.state,
                                                         request->parameters[0], &completion));
}
