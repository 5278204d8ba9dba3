/* plain.c: may an object travel in a message?
 *
 * The one question asked of every message before it is encoded, and so it is asked in C: walking a small dict
 * in Python costs more than encoding it. The answer is only yes or no; who wants to know which key is at
 * fault asks shmchan.layers.wire, which walks again, slowly.
 *
 * Plain are: dict with str keys, list, tuple, str without lone surrogates, bytes, int of signed 64 bits,
 * float, bool, None; exactly these types, no subclasses, at most MAX_DEPTH deep.
 */
#include "plain.h"

enum { MAX_DEPTH = 200 };

static int has_surrogate(PyObject *text) {
    int kind = PyUnicode_KIND(text);
    if (kind == PyUnicode_1BYTE_KIND)
        return 0;
    const void *data = PyUnicode_DATA(text);
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 point = PyUnicode_READ(kind, data, i);
        if (point >= 0xD800 && point <= 0xDFFF)
            return 1;
    }
    return 0;
}

static int is_word(PyObject *number) {
    int overflow = 0;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    (void)value;
    return !overflow;
}

static int is_plain_within(PyObject *object, int depth) {
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyUnicode_Type)
        return !has_surrogate(object);
    if (type == &PyBytes_Type || type == &PyFloat_Type || type == &PyBool_Type || object == Py_None)
        return 1;
    if (type == &PyLong_Type)
        return is_word(object);
    if (depth >= MAX_DEPTH)
        return 0;
    if (type == &PyDict_Type) {
        PyObject *key, *value;
        Py_ssize_t position = 0;
        while (PyDict_Next(object, &position, &key, &value))
            if (Py_TYPE(key) != &PyUnicode_Type || has_surrogate(key) || !is_plain_within(value, depth + 1))
                return 0;
        return 1;
    }
    if (type == &PyList_Type || type == &PyTuple_Type) {
        int list = type == &PyList_Type;
        Py_ssize_t length = list ? PyList_GET_SIZE(object) : PyTuple_GET_SIZE(object);
        for (Py_ssize_t i = 0; i < length; i++)
            if (!is_plain_within(list ? PyList_GET_ITEM(object, i) : PyTuple_GET_ITEM(object, i), depth + 1))
                return 0;
        return 1;
    }
    return 0;
}

int is_plain(PyObject *message) {
    return PyDict_CheckExact(message) && is_plain_within(message, 0);
}
