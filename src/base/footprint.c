/* See footprint.h. Only segments that are not writable: what was relocated or written is nowhere
 * else. */
#include "base/footprint.h"
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static int trim_object(struct dl_phdr_info *object, size_t size, void *owner)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W)) {
            continue;
        }
        uintptr_t from = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
        uintptr_t to = object->dlpi_addr + segment->p_vaddr + segment->p_memsz;
        madvise((void *)from, to - from, MADV_DONTNEED); /* no harm if it is refused */
    }
    return 0;
}

void footprint_trim(void)
{
    dl_iterate_phdr(trim_object, NULL);
}
