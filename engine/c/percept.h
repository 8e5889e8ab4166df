/* percept: what a neural network's representation of an image kept of it. Generated from engine/c/src/lib.rs. */

#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/*
 A run of which there is something left to be done.
 */
#define PERCEPT_RUNNING 0

/*
 A run whose images are all there.
 */
#define PERCEPT_DONE 1

/*
 A run that was cancelled.
 */
#define PERCEPT_CANCELLED 2

/*
 How a call ended.
 */
enum percept_status {
  /*
   As it should.
   */
  PERCEPT_STATUS_OK = 0,
  /*
   An argument is null, too small or impossible.
   */
  PERCEPT_STATUS_ARGUMENT = 1,
  /*
   A file cannot be read, or is not what it should be.
   */
  PERCEPT_STATUS_FILE = 2,
  /*
   There is no such device.
   */
  PERCEPT_STATUS_DEVICE = 3,
  /*
   The device was lost: open everything anew, and go on from a state.
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
   A mistake of percept's.
   */
  PERCEPT_STATUS_INTERNAL = 7,
};

/*
 An encoder and the decoder that was trained on its representations, on a device. One thread at a time may use it; others
 wait.
 */
struct percept_bundle;

/*
 A sampling run. One thread at a time may use it, others wait; but percept_job_cancel never waits.
 */
struct percept_job;

/*
 What to sample.
 */
struct percept_sample_options {
  /*
   sizeof(struct percept_sample_options)
   */
  size_t size;
  /*
   Images.
   */
  uint32_t samples;
  /*
   Steps of DDPM.
   */
  uint32_t steps;
  /*
   What noise is drawn from.
   */
  uint64_t seed;
  /*
   Images computed at once; 0: as many as fit.
   */
  uint32_t batch;
  /*
   Bytes that the run may take on its device, weights and all; 0: as many as there are.
   */
  uint64_t memory;
};

/*
 How far a run is.
 */
struct percept_progress {
  /*
   sizeof(struct percept_progress)
   */
  size_t size;
  /*
   Steps taken.
   */
  uint64_t done;
  /*
   Of how many.
   */
  uint64_t total;
  /*
   Seconds left; negative while nothing is known.
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
 The version of the interface: changes that a caller has to know of raise it.
 */
uint32_t percept_version(void);

/*
 What went wrong in the last call of this thread that was no success; "" where none was. Valid until the thread's next call.
 */
const char *percept_message(void);

/*
 Opens a bundle file on a device: "auto", "cpu", "gpu" or a part of an adapter's name.

 # Safety
 `path` and `device` are strings that end in 0, `bundle` a place for a pointer.
 */
enum percept_status percept_bundle_open(const char *path,
                                        const char *device,
                                        struct percept_bundle **bundle);

/*
 Closes a bundle; its jobs go on. Null does nothing.

 # Safety
 `bundle` is one that was opened and not closed, and no other thread uses it.
 */
void percept_bundle_close(struct percept_bundle *bundle);

/*
 The elements of a representation, and the pixels a side of an image.

 # Safety
 `bundle` is open; `length` and `image_size` are places for numbers.
 */
enum percept_status percept_bundle_sizes(const struct percept_bundle *bundle,
                                         size_t *length,
                                         size_t *image_size);

/*
 The representation of a picture file (PNG or JPEG); `length` is that of percept_bundle_sizes.

 # Safety
 `bundle` is open, `path` a string that ends in 0, `representation` has room for `length` floats.
 */
enum percept_status percept_encode_file(struct percept_bundle *bundle,
                                        const char *path,
                                        float *representation,
                                        size_t length);

/*
 Begins to sample images of a representation. Takes a while: call it away from a window's thread.

 # Safety
 `bundle` is open, `representation` has `length` floats, `options` is filled in, `job` a place for a pointer.
 */
enum percept_status percept_job_start(const struct percept_bundle *bundle,
                                      const float *representation,
                                      size_t length,
                                      const struct percept_sample_options *options,
                                      struct percept_job **job);

/*
 Goes on from what percept_job_state wrote.

 # Safety
 `bundle` is open, `state` has `length` bytes, `job` is a place for a pointer.
 */
enum percept_status percept_job_resume(const struct percept_bundle *bundle,
                                       const uint8_t *state,
                                       size_t length,
                                       struct percept_job **job);

/*
 Hands the device what it needs `milliseconds` for; does not wait for it. `progress` may be null.

 # Safety
 `job` was started and not freed; `progress` is null, or its size is filled in.
 */
enum percept_status percept_job_advance(struct percept_job *job,
                                        double milliseconds,
                                        struct percept_progress *progress);

/*
 Takes a run to its end, or until it is cancelled; waits. `progress` may be null.

 # Safety
 As percept_job_advance.
 */
enum percept_status percept_job_wait(struct percept_job *job, struct percept_progress *progress);

/*
 Asks a run to stop; from any thread, and without waiting for others.

 # Safety
 `job` was started and not freed.
 */
enum percept_status percept_job_cancel(const struct percept_job *job);

/*
 The images that are whole: how many, and, where `pixels` is not null, their bytes, `[count, size, size, 3]`, of which
 there must be room for all.

 # Safety
 `job` was started and not freed; `count` is a place for a number; `pixels` is null or has room for `length` bytes.
 */
enum percept_status percept_job_images(const struct percept_job *job,
                                       size_t *count,
                                       uint8_t *pixels,
                                       size_t length);

/*
 All that is needed to go on from the last whole step: how many bytes, and, where `state` is not null, the bytes. Waits. The
 number changes with every step, so that nothing may advance the job between the two calls.

 # Safety
 `job` was started and not freed; `length` is a place for a number; `state` is null or has room for `capacity` bytes.
 */
enum percept_status percept_job_state(struct percept_job *job,
                                      size_t *length,
                                      uint8_t *state,
                                      size_t capacity);

/*
 Frees a job, and stops it. Null does nothing.

 # Safety
 `job` is one that was started and not freed, and no other thread uses it.
 */
void percept_job_free(struct percept_job *job);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus
