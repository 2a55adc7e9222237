/* Which nodes can hold the virtual IPs, before the one that does so fails. Looked at are those that
 * could come to lead and are online: not drained ones, spares and witnesses. Inside of api/. */
#pragma once

struct api;

/* The names of those that cannot ("n2, n3"), while a virtual IP is set; NULL = none. Caller frees.
 */
char *holders_unable(const struct api *api);
/* One sentence when that leaves fewer than two that can, so that no virtual IP can move; NULL =
 * nothing to say. Caller frees. */
char *holders_warning(const struct api *api);
