/* shmchan._plain: the steps of a message's way that are too hot for Python: may it travel, and taking one
 * out.
 *
 * The one question asked of every message before it is encoded, and so it is asked in C: walking a small dict
 * in Python costs more than encoding it. The answer is only yes or no; who wants to know which key is at
 * fault asks shmchan.layers.wire, which walks again, slowly.
 *
 * Plain are: dict with str keys, list, tuple, str without lone surrogates, bytes, int of signed 64 bits,
 * float, bool, None; exactly these types, no subclasses, at most MAX_DEPTH deep.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>

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

static int is_plain(PyObject *object, int depth) {
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
            if (Py_TYPE(key) != &PyUnicode_Type || has_surrogate(key) || !is_plain(value, depth + 1))
                return 0;
        return 1;
    }
    if (type == &PyList_Type || type == &PyTuple_Type) {
        int list = type == &PyList_Type;
        Py_ssize_t length = list ? PyList_GET_SIZE(object) : PyTuple_GET_SIZE(object);
        for (Py_ssize_t i = 0; i < length; i++)
            if (!is_plain(list ? PyList_GET_ITEM(object, i) : PyTuple_GET_ITEM(object, i), depth + 1))
                return 0;
        return 1;
    }
    return 0;
}

static PyObject *plain_is_plain(PyObject *module, PyObject *message) {
    (void)module;
    return PyBool_FromLong(PyDict_CheckExact(message) && is_plain(message, 0));
}

/* --- Taker ---
 *
 * One receiver's way out of the core, in as few steps as Python allows: take a message into the receiver's
 * buffer with the GIL let go, decode it, pair it with the name of its channel. It holds addresses, which the
 * layer that made it takes back before they end.
 */
typedef int64_t (*take_function)(void *handle, void *interest, uint64_t timeout_ns);

enum { LENGTH_BITS = 40 };

struct taker {
    PyObject_HEAD vectorcallfunc call;
    take_function take;
    void *handle, *interest;
    const char *buffer;
    PyObject *decode, *channel;
};

/* taker(timeout_ns) -> (channel, message) | int: what shmc_take returned, when there is more to say; -2:
 * closed. */
static PyObject *taker_call(PyObject *self, PyObject *const *arguments, size_t count, PyObject *names) {
    struct taker *t = (struct taker *)self;
    if (PyVectorcall_NARGS(count) != 1 || names) {
        PyErr_SetString(PyExc_TypeError, "a taker takes one argument, the timeout in ns");
        return NULL;
    }
    unsigned long long timeout = PyLong_AsUnsignedLongLong(arguments[0]);
    if (timeout == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    if (!t->handle)
        return PyLong_FromLong(-2);
    int64_t brief;
    Py_BEGIN_ALLOW_THREADS brief = t->take(t->handle, t->interest, timeout);
    Py_END_ALLOW_THREADS if (brief < 0 || brief >> LENGTH_BITS ||
                             !t->handle) return PyLong_FromLongLong(t->handle ? brief : -2);
    PyObject *bytes = PyBytes_FromStringAndSize(t->buffer, (Py_ssize_t)brief);
    if (!bytes)
        return NULL;
    PyObject *message = PyObject_CallOneArg(t->decode, bytes);
    Py_DECREF(bytes);
    if (!message)
        return NULL;
    PyObject *pair = PyTuple_Pack(2, t->channel, message);
    Py_DECREF(message);
    return pair;
}

static PyObject *taker_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    static char *keywords[] = {"take", "handle", "interest", "buffer", "decode", "channel", NULL};
    unsigned long long take, handle, interest, buffer;
    PyObject *decode, *channel;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "KKKKOU", keywords, &take, &handle, &interest, &buffer,
                                     &decode, &channel))
        return NULL;
    struct taker *t = (struct taker *)type->tp_alloc(type, 0);
    if (!t)
        return NULL;
    t->call = taker_call;
    t->take = (take_function)(uintptr_t)take;
    t->handle = (void *)(uintptr_t)handle;
    t->interest = (void *)(uintptr_t)interest;
    t->buffer = (const char *)(uintptr_t)buffer;
    t->decode = Py_NewRef(decode);
    t->channel = Py_NewRef(channel);
    return (PyObject *)t;
}

static void taker_dealloc(PyObject *self) {
    struct taker *t = (struct taker *)self;
    Py_XDECREF(t->decode);
    Py_XDECREF(t->channel);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *taker_close(PyObject *self, PyObject *unused) {
    (void)unused;
    ((struct taker *)self)->handle = NULL;
    Py_RETURN_NONE;
}

static PyMethodDef taker_methods[] = {
    {"close", taker_close, METH_NOARGS, "close(): forget the addresses; calls return -2 from now on."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject taker_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmchan._plain.Taker",
    .tp_doc = "Taker(take, handle, interest, buffer, decode, channel): addresses of shmc_take and of what it "
              "works on.",
    .tp_basicsize = sizeof(struct taker),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_new = taker_new,
    .tp_dealloc = taker_dealloc,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(struct taker, call),
    .tp_methods = taker_methods,
};

/* --- Putter ---
 *
 * One channel's way into the core: check, encode and put a message. Addresses as for a Taker.
 */
typedef int (*put_function)(void *handle, void *target, const void *payload, uint64_t length);

struct putter {
    PyObject_HEAD vectorcallfunc call;
    put_function put;
    void *handle, *target;
    PyObject *encode, *keep; /* keep: whose memory target is */
};

/* putter(message) -> int | None: the status of shmc_put; None: the message is not plain, nothing was sent. */
static PyObject *putter_call(PyObject *self, PyObject *const *arguments, size_t count, PyObject *names) {
    struct putter *p = (struct putter *)self;
    if (PyVectorcall_NARGS(count) != 1 || names) {
        PyErr_SetString(PyExc_TypeError, "a putter takes one argument, the message");
        return NULL;
    }
    if (!p->handle || !PyDict_CheckExact(arguments[0]) || !is_plain(arguments[0], 0))
        Py_RETURN_NONE;
    PyObject *payload = PyObject_CallOneArg(p->encode, arguments[0]);
    if (!payload)
        return NULL;
    int status;
    void *handle = p->handle;
    Py_BEGIN_ALLOW_THREADS status =
        p->put(handle, p->target, PyBytes_AS_STRING(payload), (uint64_t)PyBytes_GET_SIZE(payload));
    Py_END_ALLOW_THREADS Py_DECREF(payload);
    return PyLong_FromLong(status);
}

static PyObject *putter_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    static char *keywords[] = {"put", "handle", "target", "encode", "keep", NULL};
    unsigned long long put, handle, target;
    PyObject *encode, *keep;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "KKKOO", keywords, &put, &handle, &target, &encode,
                                     &keep))
        return NULL;
    struct putter *p = (struct putter *)type->tp_alloc(type, 0);
    if (!p)
        return NULL;
    p->call = putter_call;
    p->put = (put_function)(uintptr_t)put;
    p->handle = (void *)(uintptr_t)handle;
    p->target = (void *)(uintptr_t)target;
    p->encode = Py_NewRef(encode);
    p->keep = Py_NewRef(keep);
    return (PyObject *)p;
}

static void putter_dealloc(PyObject *self) {
    Py_XDECREF(((struct putter *)self)->encode);
    Py_XDECREF(((struct putter *)self)->keep);
    Py_TYPE(self)->tp_free(self);
}

static PyTypeObject putter_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmchan._plain.Putter",
    .tp_doc = "Putter(put, handle, target, encode, keep): addresses of shmc_put and of what it works on; "
              "keep owns target.",
    .tp_basicsize = sizeof(struct putter),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_new = putter_new,
    .tp_dealloc = putter_dealloc,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(struct putter, call),
};

static int add_types(PyObject *module) {
    return PyModule_AddType(module, &taker_type) || PyModule_AddType(module, &putter_type) ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, add_types},
    {0, NULL},
};

static PyMethodDef methods[] = {
    {"is_plain", plain_is_plain, METH_O,
     "is_plain(message) -> bool: whether message is a dict that travels as it is. Raises nothing."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "shmchan._plain",
    .m_slots = slots,      .m_doc = "May an object travel in a message?",
    .m_size = 0,           .m_methods = methods,
};

PyMODINIT_FUNC PyInit__plain(void);
PyMODINIT_FUNC PyInit__plain(void) {
    return PyModuleDef_Init(&definition);
}
