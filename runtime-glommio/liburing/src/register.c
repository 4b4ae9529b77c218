#include <register.c>
