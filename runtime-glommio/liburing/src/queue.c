#include <queue.c>
