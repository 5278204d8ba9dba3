/* shmchan._exchange: the way of every message between Python and the core, in as few steps as Python allows.
 *
 *   Exchange  the two calls of a layer that every message goes through, send() and receive(): what is usual is done here,
 *             and for everything else the methods of the class that inherits it are called
 *   Putter    one channel's way in: check, encode, put
 *   Taker     one receiver's way out: take, decode, pair with the channel's name
 *
 * They hold addresses of the core, which the layer that made them takes back before they end.
 *
 * An attempt takes some hundred nanoseconds, less than letting go of the GIL and taking it again; so it is let go of only
 * to wait, and for long messages. Nobody who holds a lock of the core ever waits for the GIL.
 */
#include "plain.h"
/* after Python.h, which says what it needs */
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>

typedef int64_t (*take_function)(void *handle, void *interest, uint64_t timeout_ns);
typedef int (*put_function)(void *handle, void *target, const void *payload, uint64_t length);

/* What shmc_take returns besides a length and an entry, and what is said here of one that was closed. */
enum { LENGTH_BITS = 40, TELL = -1, EMPTY = -2, CLOSED = -3 };
enum { LONG_PAYLOAD = 4096, NOT_PLAIN = 1 << 20, RAISED };

/* --- Taker --- */

struct taker {
    PyObject_HEAD vectorcallfunc call;
    take_function take;
    void *handle, *interest;
    const char *buffer;
    PyObject *decode, *channels;
    unsigned long thread;
    char busy;
};

static PyTypeObject taker_type;

static int64_t take(struct taker *t, uint64_t timeout_ns) {
    if (!t->handle)
        return CLOSED;
    int64_t brief = t->take(t->handle, t->interest, 0);
    if (brief == EMPTY && timeout_ns) {
        t->busy = 1;
        Py_BEGIN_ALLOW_THREADS /**/
            brief = t->take(t->handle, t->interest, timeout_ns);
        Py_END_ALLOW_THREADS /**/
            t->busy = 0;
    }
    return t->handle ? brief : CLOSED;
}

/* (channel, message); NULL without an exception: these bytes are no message. */
static PyObject *pair_of(struct taker *t, int64_t brief) {
    Py_ssize_t entry = (Py_ssize_t)(brief >> LENGTH_BITS);
    Py_ssize_t length = (Py_ssize_t)(brief & ((INT64_C(1) << LENGTH_BITS) - 1));
    if (entry >= PyTuple_GET_SIZE(t->channels))
        return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize(t->buffer, length);
    if (!bytes)
        return NULL;
    PyObject *message = PyObject_CallOneArg(t->decode, bytes);
    Py_DECREF(bytes);
    if (!message || !PyDict_CheckExact(message)) {
        Py_CLEAR(message);
        PyErr_Clear(); /* whoever looks at the bytes again says what is wrong with them */
        return NULL;
    }
    PyObject *pair = PyTuple_Pack(2, PyTuple_GET_ITEM(t->channels, entry), message);
    Py_DECREF(message);
    return pair;
}

/* taker(timeout_ns) -> (channel, message) | int */
static PyObject *taker_call(PyObject *self, PyObject *const *arguments, size_t count, PyObject *names) {
    struct taker *t = (struct taker *)self;
    if (PyVectorcall_NARGS(count) != 1 || names) {
        PyErr_SetString(PyExc_TypeError, "a taker takes one argument, the timeout in ns");
        return NULL;
    }
    unsigned long long timeout = PyLong_AsUnsignedLongLong(arguments[0]);
    if (timeout == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    int64_t brief = take(t, timeout);
    PyObject *pair = brief < 0 ? NULL : pair_of(t, brief);
    return pair || PyErr_Occurred() ? pair : PyLong_FromLongLong(brief);
}

static PyObject *taker_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    static char *keywords[] = {"take", "handle", "interest", "buffer", "decode", "channels", NULL};
    unsigned long long take_address, handle, interest, buffer;
    PyObject *decode, *channels;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "KKKKOO!", keywords, &take_address, &handle, &interest,
                                     &buffer, &decode, &PyTuple_Type, &channels))
        return NULL;
    struct taker *t = (struct taker *)type->tp_alloc(type, 0);
    if (!t)
        return NULL;
    t->call = taker_call;
    t->take = (take_function)(uintptr_t)take_address;
    t->handle = (void *)(uintptr_t)handle;
    t->interest = (void *)(uintptr_t)interest;
    t->buffer = (const char *)(uintptr_t)buffer;
    t->decode = Py_NewRef(decode);
    t->channels = Py_NewRef(channels);
    t->thread = PyThread_get_thread_ident();
    return (PyObject *)t;
}

static void taker_dealloc(PyObject *self) {
    struct taker *t = (struct taker *)self;
    Py_XDECREF(t->decode);
    Py_XDECREF(t->channels);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *taker_close(PyObject *self, PyObject *unused) {
    (void)unused;
    ((struct taker *)self)->handle = NULL;
    Py_RETURN_NONE;
}

static PyMethodDef taker_methods[] = {
    {"close", taker_close, METH_NOARGS, "close(): forget the addresses; calls return CLOSED from now on."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef taker_members[] = {
    {"busy", T_BOOL, offsetof(struct taker, busy), READONLY, "Whether its thread waits in the core."},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject taker_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmchan._exchange.Taker",
    .tp_doc =
        "Taker(take, handle, interest, buffer, decode, channels): addresses of shmc_take and of what it "
        "works on. Calls take a timeout in ns and return (channel, message), or what shmc_take returned.",
    .tp_basicsize = sizeof(struct taker),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_new = taker_new,
    .tp_dealloc = taker_dealloc,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(struct taker, call),
    .tp_methods = taker_methods,
    .tp_members = taker_members,
};

/* --- Putter --- */

struct putter {
    PyObject_HEAD put_function put;
    void *handle, *target;
    PyObject *encode, *keep; /* keep: whose memory target is */
};

static PyTypeObject putter_type;

/* The status of shmc_put, or NOT_PLAIN: nothing was sent; RAISED: with an exception. */
static int put(struct putter *p, PyObject *message) {
    if (!is_plain(message))
        return NOT_PLAIN;
    PyObject *payload = PyObject_CallOneArg(p->encode, message);
    if (!payload)
        return RAISED;
    int status;
    const char *bytes = PyBytes_AS_STRING(payload);
    uint64_t length = (uint64_t)PyBytes_GET_SIZE(payload);
    if (length < LONG_PAYLOAD) {
        status = p->put(p->handle, p->target, bytes, length);
    } else {
        Py_BEGIN_ALLOW_THREADS /**/
            status = p->put(p->handle, p->target, bytes, length);
        Py_END_ALLOW_THREADS /**/
    }
    Py_DECREF(payload);
    return status;
}

static PyObject *putter_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    static char *keywords[] = {"put", "handle", "target", "encode", "keep", NULL};
    unsigned long long put_address, handle, target;
    PyObject *encode, *keep;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "KKKOO", keywords, &put_address, &handle, &target,
                                     &encode, &keep))
        return NULL;
    struct putter *p = (struct putter *)type->tp_alloc(type, 0);
    if (!p)
        return NULL;
    p->put = (put_function)(uintptr_t)put_address;
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
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmchan._exchange.Putter",
    .tp_doc = "Putter(put, handle, target, encode, keep): addresses of shmc_put and of what it works on; "
              "keep owns target.",
    .tp_basicsize = sizeof(struct putter),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = putter_new,
    .tp_dealloc = putter_dealloc,
};

/* --- Exchange --- */

struct exchange {
    PyObject_HEAD PyObject *putters, *takers;
};

static PyObject *send_slowly, *send_refused, *receive_slowly, *receive_told; /* names of methods */

/* The same call to another method of the same object. */
static PyObject *pass_on(PyObject *self, PyObject *name, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names) {
    PyObject *method = PyObject_GetAttr(self, name);
    if (!method)
        return NULL;
    PyObject *result = PyObject_Vectorcall(method, arguments, (size_t)count, names);
    Py_DECREF(method);
    return result;
}

static PyObject *exchange_send(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                               PyObject *names) {
    struct exchange *x = (struct exchange *)self;
    if (count != 2 || names || !PyUnicode_CheckExact(arguments[0]))
        return pass_on(self, send_slowly, arguments, count, names);
    PyObject *putter = PyDict_GetItemWithError(x->putters, arguments[0]);
    if (!putter || !Py_IS_TYPE(putter, &putter_type))
        return PyErr_Occurred() ? NULL : pass_on(self, send_slowly, arguments, count, names);
    Py_INCREF(putter);
    int status = put((struct putter *)putter, arguments[1]);
    Py_DECREF(putter);
    if (status == 0)
        Py_RETURN_NONE;
    if (status == RAISED)
        return NULL;
    if (status == NOT_PLAIN)
        return pass_on(self, send_slowly, arguments, count, names);
    PyObject *number = PyLong_FromLong(status);
    if (!number)
        return NULL;
    PyObject *told[] = {arguments[0], arguments[1], number};
    PyObject *result = pass_on(self, send_refused, told, 3, NULL);
    Py_DECREF(number);
    return result;
}

/* Whether receive() is to wait; -1: what was given is not usual. */
static int waits(PyObject *const *arguments, Py_ssize_t count, PyObject *names) {
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    if (count == 1 && named == 0)
        return 0;
    if (count + named != 2 || count == 0)
        return -1;
    if (named && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "block") != 0)
        return -1;
    return arguments[1] == Py_True ? 1 : arguments[1] == Py_False ? 0 : -1;
}

/* The taker of these channels that this thread may use, borrowed; NULL: none is known. */
static struct taker *taker_of(struct exchange *x, PyObject *channels) {
    PyObject *key = NULL, *found = NULL;
    if (PyList_CheckExact(channels) && PyList_GET_SIZE(channels) == 1) {
        key = PyList_GET_ITEM(channels, 0);
        found = PyUnicode_CheckExact(key) ? PyDict_GetItemWithError(x->takers, key) : NULL;
    } else if (PyList_CheckExact(channels)) {
        key = PyList_AsTuple(channels);
        found = key ? PyDict_GetItem(x->takers, key) : NULL; /* that a key cannot be hashed is said later */
        Py_XDECREF(key);
    }
    if (!found || !Py_IS_TYPE(found, &taker_type))
        return NULL;
    struct taker *t = (struct taker *)found;
    return t->thread == PyThread_get_thread_ident() ? t : NULL;
}

static PyObject *exchange_receive(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                  PyObject *names) {
    int wait = waits(arguments, count, names);
    struct taker *t = wait < 0 ? NULL : taker_of((struct exchange *)self, arguments[0]);
    if (!t)
        return PyErr_Occurred() ? NULL : pass_on(self, receive_slowly, arguments, count, names);
    Py_INCREF(t);
    int64_t brief = take(t, wait ? UINT64_MAX : 0);
    PyObject *pair = brief < 0 ? NULL : pair_of(t, brief);
    Py_DECREF(t);
    if (pair || PyErr_Occurred())
        return pair;
    if (brief == EMPTY && !wait)
        return PyTuple_Pack(2, Py_None, Py_None);
    PyObject *number = PyLong_FromLongLong(brief);
    if (!number)
        return NULL;
    PyObject *told[] = {arguments[0], wait ? Py_True : Py_False, number};
    PyObject *result = pass_on(self, receive_told, told, 3, NULL);
    Py_DECREF(number);
    return result;
}

static PyObject *exchange_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    (void)arguments, (void)names; /* of the class that inherits it */
    struct exchange *x = (struct exchange *)type->tp_alloc(type, 0);
    if (!x)
        return NULL;
    x->putters = PyDict_New();
    x->takers = PyDict_New();
    if (!x->putters || !x->takers)
        Py_CLEAR(x);
    return (PyObject *)x;
}

static int exchange_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((struct exchange *)self)->putters);
    Py_VISIT(((struct exchange *)self)->takers);
    return 0;
}

static int exchange_clear(PyObject *self) {
    Py_CLEAR(((struct exchange *)self)->putters);
    Py_CLEAR(((struct exchange *)self)->takers);
    return 0;
}

static void exchange_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    exchange_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef exchange_methods[] = {
    {"send", (PyCFunction)(void (*)(void))exchange_send, METH_FASTCALL | METH_KEYWORDS,
     "send($self, channel, message)\n--\n\nSend a message: see BaseChannelLayer.send."},
    {"receive", (PyCFunction)(void (*)(void))exchange_receive, METH_FASTCALL | METH_KEYWORDS,
     "receive($self, channels, block=False, timeout=None)\n--\n\n"
     "Take a message: see BaseChannelLayer.receive."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef exchange_members[] = {
    {"_putters", T_OBJECT_EX, offsetof(struct exchange, putters), READONLY,
     "Putters by the name of their channel."},
    {"_takers", T_OBJECT_EX, offsetof(struct exchange, takers), READONLY,
     "Takers by the name of their one channel, or by the tuple of their names."},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject exchange_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmchan._exchange.Exchange",
    .tp_doc =
        "send() and receive() of a layer. Who inherits it fills _putters and _takers, and has "
        "_send_slowly(channel, message), _send_refused(channel, message, status), "
        "_receive_slowly(channels, block=False, timeout=None) and _receive_told(channels, block, taken).",
    .tp_basicsize = sizeof(struct exchange),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_new = exchange_new,
    .tp_dealloc = exchange_dealloc,
    .tp_traverse = exchange_traverse,
    .tp_clear = exchange_clear,
    .tp_methods = exchange_methods,
    .tp_members = exchange_members,
};

/* --- the module --- */

static PyObject *ask(PyObject *module, PyObject *message) {
    (void)module;
    return PyBool_FromLong(is_plain(message));
}

static int prepare(PyObject *module) {
    static struct {
        PyObject **name;
        const char *text;
    } const names[] = {{&send_slowly, "_send_slowly"},
                       {&send_refused, "_send_refused"},
                       {&receive_slowly, "_receive_slowly"},
                       {&receive_told, "_receive_told"}};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (!*names[k].name && !(*names[k].name = PyUnicode_InternFromString(names[k].text)))
            return -1;
    return PyModule_AddType(module, &taker_type) || PyModule_AddType(module, &putter_type) ||
                   PyModule_AddType(module, &exchange_type) ||
                   PyModule_AddIntConstant(module, "EMPTY", EMPTY) ||
                   PyModule_AddIntConstant(module, "CLOSED", CLOSED)
               ? -1
               : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {0, NULL},
};

static PyMethodDef methods[] = {
    {"is_plain", ask, METH_O,
     "is_plain(message) -> bool: whether message is a dict that travels as it is. Raises nothing."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "shmchan._exchange",
    .m_slots = slots,      .m_doc = "The way of every message between Python and the core.",
    .m_size = 0,           .m_methods = methods,
};

PyMODINIT_FUNC PyInit__exchange(void);
PyMODINIT_FUNC PyInit__exchange(void) {
    return PyModuleDef_Init(&definition);
}
