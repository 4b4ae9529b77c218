/* The bundled file, calling gateway_io_uring_setup where it called the kernel. */
#define __sys_io_uring_setup gateway_io_uring_setup
#include <setup.c>
#undef __sys_io_uring_setup

/* Linux 5.19. Completions are handled when the thread enters the kernel next, which a byte pump does every few
 * microseconds, and not by interrupting it. */
#define COOP_TASKRUN (1U << 8)

int __sys_io_uring_setup(unsigned entries, struct io_uring_params *p);

int gateway_io_uring_setup(unsigned entries, struct io_uring_params *p)
{
	/* The other two kinds of rings complete on their own. */
	if (!(p->flags & (IORING_SETUP_IOPOLL | IORING_SETUP_SQPOLL))) {
		struct io_uring_params cooperative = *p;
		cooperative.flags |= COOP_TASKRUN;
		int fd = __sys_io_uring_setup(entries, &cooperative);
		if (fd >= 0 || errno != EINVAL) {
			*p = cooperative;
			return fd;
		}
	}
	return __sys_io_uring_setup(entries, p);
}
