/*
 * A stand-in for the library of NVIDIA's driver, libnvidia-ml.so.1.
 *
 * What it tells stands in the file that the variable FAL_CORE_STAND_IN_GPUS names, read anew
 * by each initialisation. Its lines:
 *
 *     gpu|NAME|UUID|MEMORY|USED|MAJOR.MINOR|PID PID ...
 *     mig|NAME|UUID|MEMORY|USED|PID PID ...           a slice of the GPU before it
 *     partitioned                                     the GPU before it is in MIG mode
 *     busy|PERCENT                                    of the time, the GPU before it
 *     fail|FUNCTION|CODE|UUID                         for one device, or all if UUID is *
 *
 * MEMORY and USED are bytes. Without the variable the driver is not loaded.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7,
       NOT_LOADED = 9, UNINITIALIZED = 1 };
enum { DEVICES = 64, SLICES = 8, FAILURES = 32, PROCESSES = 16, TEXT = 96 };

typedef struct Device {
    char name[TEXT], uuid[TEXT];
    unsigned long long memory, used;
    int major, minor;
    unsigned int processes[PROCESSES], process_count;
    unsigned int index, partitioned, slice_count, busy;
    struct Device *parent, *slices[SLICES];
} Device;

typedef struct { char function[TEXT], uuid[TEXT]; int code; } Failure;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } Memory2;
typedef struct { unsigned int gpu, memory; } Rates;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gpu, compute; } Process;
typedef struct {
    char legacy[16];
    unsigned int domain, bus, device, id, subsystem;
    char bus_id[32];
} Pci;

static Device gpus[DEVICES], slices[DEVICES * SLICES];
static Failure failures[FAILURES];
static unsigned int gpu_count, slice_count, failure_count, initialised;

static void copy(char *to, const char *from) {
    snprintf(to, TEXT, "%s", from ? from : "");
}

static int failing(const char *function, const Device *device) {
    unsigned int i;
    for (i = 0; i < failure_count; i++) {
        const Failure *each = &failures[i];
        if (strcmp(each->function, function) == 0 &&
            (strcmp(each->uuid, "*") == 0 || (device && strcmp(each->uuid, device->uuid) == 0)))
            return each->code;
    }
    return SUCCESS;
}

#define ANSWER(device)                                        \
    do {                                                      \
        int code = failing(__func__, device);                 \
        if (!initialised) return UNINITIALIZED;               \
        if (code) return code;                                \
    } while (0)

static void read_processes(Device *device, char *text) {
    char *rest, *word = text ? strtok_r(text, " ", &rest) : NULL;
    for (; word && device->process_count < PROCESSES; word = strtok_r(NULL, " ", &rest))
        device->processes[device->process_count++] = (unsigned int)atoi(word);
}

static void read_device(Device *device, char **rest, int whole) {
    char *version;
    memset(device, 0, sizeof *device);
    copy(device->name, strsep(rest, "|"));
    copy(device->uuid, strsep(rest, "|"));
    device->memory = strtoull(strsep(rest, "|"), NULL, 10);
    device->used = strtoull(strsep(rest, "|"), NULL, 10);
    if (whole && (version = strsep(rest, "|")))
        sscanf(version, "%d.%d", &device->major, &device->minor);
    read_processes(device, strsep(rest, "|"));
}

static int read_all(const char *path) {
    char line[1024];
    FILE *file = fopen(path, "r");
    if (!file) return NOT_LOADED;
    gpu_count = slice_count = failure_count = 0;
    while (fgets(line, sizeof line, file)) {
        char *rest = line, *kind;
        line[strcspn(line, "\n")] = 0;
        kind = strsep(&rest, "|");
        if (strcmp(kind, "gpu") == 0 && gpu_count < DEVICES) {
            read_device(&gpus[gpu_count], &rest, 1);
            gpus[gpu_count].index = gpu_count;
            gpu_count++;
        } else if (strcmp(kind, "mig") == 0 && gpu_count) {
            Device *parent = &gpus[gpu_count - 1], *slice = &slices[slice_count++];
            read_device(slice, &rest, 0);
            slice->parent = parent;
            slice->index = parent->slice_count;
            parent->partitioned = 1;
            parent->slices[parent->slice_count++] = slice;
        } else if (strcmp(kind, "partitioned") == 0 && gpu_count) {
            gpus[gpu_count - 1].partitioned = 1;
        } else if (strcmp(kind, "busy") == 0 && gpu_count) {
            gpus[gpu_count - 1].busy = (unsigned int)atoi(rest);
        } else if (strcmp(kind, "fail") == 0 && failure_count < FAILURES) {
            Failure *failure = &failures[failure_count++];
            copy(failure->function, strsep(&rest, "|"));
            failure->code = atoi(strsep(&rest, "|"));
            copy(failure->uuid, strsep(&rest, "|"));
        }
    }
    fclose(file);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned int flags) {
    const char *path = getenv("FAL_CORE_STAND_IN_GPUS");
    int code = path && *path ? read_all(path) : NOT_LOADED;
    (void)flags;
    if (code == SUCCESS) code = failing(__func__, NULL);
    if (code == SUCCESS) initialised++;
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    if (!initialised) return UNINITIALIZED;
    initialised--;
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    (void)code;
    return "an error of the stand-in";
}

int nvmlSystemGetDriverVersion(char *text, unsigned int length) {
    ANSWER(NULL);
    snprintf(text, length, "550.54.15");
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    ANSWER(NULL);
    *version = 12040;
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion(int *version) {
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    ANSWER(NULL);
    *count = gpu_count;
    return SUCCESS;
}

int nvmlDeviceGetCount(unsigned int *count) { return nvmlDeviceGetCount_v2(count); }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, Device **device) {
    ANSWER(index < gpu_count ? &gpus[index] : NULL);
    if (index >= gpu_count) return INVALID;
    *device = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex(unsigned int index, Device **device) {
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device **device) {
    unsigned int i;
    ANSWER(NULL);
    for (i = 0; i < gpu_count; i++)
        if (strcmp(gpus[i].uuid, uuid) == 0) return *device = &gpus[i], SUCCESS;
    for (i = 0; i < slice_count; i++)
        if (strcmp(slices[i].uuid, uuid) == 0) return *device = &slices[i], SUCCESS;
    return NOT_FOUND;
}

int nvmlDeviceGetName(Device *device, char *name, unsigned int length) {
    ANSWER(device);
    if (strlen(device->name) >= length) return TOO_SMALL;
    strcpy(name, device->name);
    return SUCCESS;
}

int nvmlDeviceGetUUID(Device *device, char *uuid, unsigned int length) {
    ANSWER(device);
    if (strlen(device->uuid) >= length) return TOO_SMALL;
    strcpy(uuid, device->uuid);
    return SUCCESS;
}

int nvmlDeviceGetIndex(Device *device, unsigned int *index) {
    ANSWER(device);
    *index = device->index;
    return SUCCESS;
}

int nvmlDeviceGetMinorNumber(Device *device, unsigned int *number) {
    ANSWER(device);
    if (device->parent) return NOT_SUPPORTED;
    *number = device->index;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(Device *device, Memory *memory) {
    ANSWER(device);
    memory->total = device->memory;
    memory->used = device->used;
    memory->free = device->memory - device->used;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(Device *device, Memory2 *memory) {
    ANSWER(device);
    memory->total = device->memory;
    memory->reserved = 0;
    memory->used = device->used;
    memory->free = device->memory - device->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(Device *device, Rates *rates) {
    ANSWER(device);
    /* As the real library has it, a slice does not tell. */
    if (device->parent || device->partitioned) return NOT_SUPPORTED;
    rates->gpu = device->busy;
    rates->memory = 0;
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(Device *device, int *major, int *minor) {
    ANSWER(device);
    /* As the real library has it, a slice does not tell. */
    if (device->parent || !device->major) return NOT_SUPPORTED;
    *major = device->major;
    *minor = device->minor;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(Device *device, unsigned int *current, unsigned int *pending) {
    ANSWER(device);
    *current = *pending = device->partitioned;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(Device *device, unsigned int *count) {
    ANSWER(device);
    *count = device->partitioned ? 7 : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *device, unsigned int index, Device **slice) {
    ANSWER(device);
    if (index >= device->slice_count) return NOT_FOUND;
    *slice = device->slices[index];
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *slice, Device **device) {
    ANSWER(slice);
    if (!slice->parent) return INVALID;
    *device = slice->parent;
    return SUCCESS;
}

int nvmlDeviceIsMigDeviceHandle(Device *device, unsigned int *is_slice) {
    ANSWER(device);
    *is_slice = device->parent != NULL;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned int *count, Process *found) {
    unsigned int i, room = *count;
    ANSWER(device);
    *count = device->process_count;
    if (device->process_count > room) return TOO_SMALL;
    for (i = 0; i < device->process_count; i++) {
        memset(&found[i], 0, sizeof found[i]);
        found[i].pid = device->processes[i];
        found[i].used = device->used / device->process_count;
    }
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v2(Device *device, unsigned int *count, Process *found) {
    ANSWER(device);
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, found);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Device *device, unsigned int *count, Process *found) {
    (void)found;
    ANSWER(device);
    *count = 0;
    return SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v2(Device *device, unsigned int *count, Process *found) {
    ANSWER(device);
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, found);
}

int nvmlDeviceGetPciInfo_v3(Device *device, Pci *pci) {
    ANSWER(device);
    memset(pci, 0, sizeof *pci);
    pci->bus = device->index + 1;
    snprintf(pci->legacy, sizeof pci->legacy, "0000:%02X:00.0", pci->bus);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    return SUCCESS;
}
