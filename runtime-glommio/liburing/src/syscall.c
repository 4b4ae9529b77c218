#include <syscall.c>
