/* What the kernel knows of the other end's kernel. A file of its own, since Linux's description of
 * TCP_INFO and that of the C library exclude each other. */
#include "net/stream.h"
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

bool stream_progress(const struct stream *stream, uint64_t *sent_bytes, uint64_t *arrived_bytes)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    int under_way = 0, fd = stream_descriptor(stream);

    if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ||
        ioctl(fd, SIOCOUTQ, &under_way) < 0) {
        return false;
    }
    *arrived_bytes = info.tcpi_bytes_acked;
    *sent_bytes = info.tcpi_bytes_acked + (uint64_t)under_way;
    return true;
}
