/* percept: visualize what a neural network's representation of an image retains. Generated from engine/c/src/lib.rs. */

#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/*
 The run is not finished.
 */
#define PERCEPT_RUNNING 0

/*
 All images of the run are finished.
 */
#define PERCEPT_DONE 1

/*
 The run was cancelled.
 */
#define PERCEPT_CANCELLED 2

/*
 The status that a call returns.
 */
enum percept_status {
  /*
   The call succeeded.
   */
  PERCEPT_STATUS_OK = 0,
  /*
   An argument is null, too small or invalid.
   */
  PERCEPT_STATUS_ARGUMENT = 1,
  /*
   A file cannot be read, or its content is invalid.
   */
  PERCEPT_STATUS_FILE = 2,
  /*
   The device does not exist, or its driver refused a shader.
   */
  PERCEPT_STATUS_DEVICE = 3,
  /*
   The device was lost. Open everything again, and resume jobs from their saved states.
   */
  PERCEPT_STATUS_DEVICE_LOST = 4,
  /*
   There is not enough memory.
   */
  PERCEPT_STATUS_OUT_OF_MEMORY = 5,
  /*
   A result is not finite.
   */
  PERCEPT_STATUS_NOT_FINITE = 6,
  /*
   A bug in percept.
   */
  PERCEPT_STATUS_INTERNAL = 7,
};

/*
 An encoder and the decoder that was trained on its representations, on a device. Only one thread at a time can use
 it; others wait.
 */
struct percept_bundle;

/*
 A sampling run. Only one thread at a time can use it; others wait. percept_job_cancel never waits.
 */
struct percept_job;

/*
 The options of a sampling run.
 */
struct percept_sample_options {
  /*
   sizeof(struct percept_sample_options)
   */
  size_t size;
  /*
   The number of images.
   */
  uint32_t samples;
  /*
   The number of DDPM steps.
   */
  uint32_t steps;
  /*
   The seed of the noise.
   */
  uint64_t seed;
  /*
   The number of images computed at once, or 0 for as many as fit.
   */
  uint32_t batch;
  /*
   The number of bytes that the run may use on its device, including the weights, or 0 for no limit.
   */
  uint64_t memory;
};

/*
 The progress of a run.
 */
struct percept_progress {
  /*
   sizeof(struct percept_progress)
   */
  size_t size;
  /*
   The number of steps done.
   */
  uint64_t done;
  /*
   The total number of steps.
   */
  uint64_t total;
  /*
   The estimated number of seconds left, or a negative number if there is no estimate yet.
   */
  double seconds_left;
  /*
   PERCEPT_RUNNING, PERCEPT_DONE or PERCEPT_CANCELLED.
   */
  uint32_t state;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Returns the version of the interface. It increases with every change that callers must know about.
 */
uint32_t percept_version(void);

/*
 Returns the message for this thread's most recent failed call, or "" if there was none. The message is valid until
 the thread's next call.
 */
const char *percept_message(void);

/*
 Opens a bundle file on a device: "auto", "cpu", "gpu" or part of an adapter's name.

 # Safety
 `path` and `device` must be null-terminated strings. `bundle` must be valid for writing a pointer.
 */
enum percept_status percept_bundle_open(const char *path,
                                        const char *device,
                                        struct percept_bundle **bundle);

/*
 Closes a bundle. Its jobs stay usable. Does nothing if `bundle` is null.

 # Safety
 `bundle` must be null or an open bundle that no other thread is using.
 */
void percept_bundle_close(struct percept_bundle *bundle);

/*
 Writes the number of elements of a representation to `length`, and the pixels per side of an image to `image_size`.

 # Safety
 `bundle` must be open. `length` and `image_size` must be valid for writing a number.
 */
enum percept_status percept_bundle_sizes(const struct percept_bundle *bundle,
                                         size_t *length,
                                         size_t *image_size);

/*
 Encodes a picture file (PNG or JPEG) and writes its representation. `length` is that of percept_bundle_sizes.

 # Safety
 `bundle` must be open. `path` must be a null-terminated string. `representation` must have room for `length` floats.
 */
enum percept_status percept_encode_file(struct percept_bundle *bundle,
                                        const char *path,
                                        float *representation,
                                        size_t length);

/*
 Starts to sample images from a representation. This takes a while, so do not call it on a window's thread.

 # Safety
 `bundle` must be open. `representation` must point to `length` floats. `options` must be filled in. `job` must be
 valid for writing a pointer.
 */
enum percept_status percept_job_start(const struct percept_bundle *bundle,
                                      const float *representation,
                                      size_t length,
                                      const struct percept_sample_options *options,
                                      struct percept_job **job);

/*
 Resumes a run from a state that percept_job_state wrote.

 # Safety
 `bundle` must be open. `state` must point to `length` bytes. `job` must be valid for writing a pointer.
 */
enum percept_status percept_job_resume(const struct percept_bundle *bundle,
                                       const uint8_t *state,
                                       size_t length,
                                       struct percept_job **job);

/*
 Advances a run by about `milliseconds` of work on its device. Does not wait for a GPU to finish that work.
 `progress` may be null.

 # Safety
 `job` must be a job that has not been freed. `progress` must be null or have its size filled in.
 */
enum percept_status percept_job_advance(struct percept_job *job,
                                        double milliseconds,
                                        struct percept_progress *progress);

/*
 Advances a run until it is finished or cancelled, and waits for it. `progress` may be null.

 # Safety
 Same as percept_job_advance.
 */
enum percept_status percept_job_wait(struct percept_job *job, struct percept_progress *progress);

/*
 Asks a run to stop. Any thread may call this. It does not wait for other threads.

 # Safety
 `job` must be a job that has not been freed.
 */
enum percept_status percept_job_cancel(const struct percept_job *job);

/*
 Writes the number of finished images to `count` and, if `pixels` is not null, their bytes to `pixels` as
 `[count, size, size, 3]`. `pixels` must have room for all of them.

 # Safety
 `job` must be a job that has not been freed. `count` must be valid for writing a number. `pixels` must be null or
 have room for `length` bytes.
 */
enum percept_status percept_job_images(const struct percept_job *job,
                                       size_t *count,
                                       uint8_t *pixels,
                                       size_t length);

/*
 Writes the size in bytes of the job's state to `length` and, if `state` is not null, the bytes to `state`. The state
 resumes the run after its last finished step. This call waits for the device. The size changes with every step, so
 nothing may advance the job between the call that gets the size and the call that gets the bytes.

 # Safety
 `job` must be a job that has not been freed. `length` must be valid for writing a number. `state` must be null or
 have room for `capacity` bytes.
 */
enum percept_status percept_job_state(struct percept_job *job,
                                      size_t *length,
                                      uint8_t *state,
                                      size_t capacity);

/*
 Stops and frees a job. Does nothing if `job` is null.

 # Safety
 `job` must be null or a job that has not been freed and that no other thread is using.
 */
void percept_job_free(struct percept_job *job);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus
