/* plain.h: whether a message travels as it is. */
#ifndef SHMCHAN_PLAIN_H
#define SHMCHAN_PLAIN_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>

int is_plain(PyObject *message);
#endif
