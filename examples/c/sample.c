/* Samples images from an encoder's representation of a picture and writes them side by side as a PPM.
 *
 *   sample BUNDLE PICTURE OUTPUT.ppm [cancel | resume]
 *
 * With "cancel", another thread cancels the run, and only the finished images are written (here, none). With "resume",
 * the run is saved half way and resumed as a new job.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "percept.h"

enum { SAMPLES = 2, STEPS = 4 };

/* Exits if a call failed. */
static void check(enum percept_status status)
{
    if (status != PERCEPT_STATUS_OK) {
        fprintf(stderr, "percept: %s\n", percept_message());
        exit(1);
    }
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return memory;
}

static void *cancel(void *job)
{
    check(percept_job_cancel(job));
    return NULL;
}

/* Saves and frees a job, and returns a new one that resumes from the saved state. */
static struct percept_job *resumed(const struct percept_bundle *bundle, struct percept_job *job)
{
    size_t length;
    check(percept_job_state(job, &length, NULL, 0));
    uint8_t *state = allocate(length);
    check(percept_job_state(job, &length, state, length));
    percept_job_free(job);
    check(percept_job_resume(bundle, state, length, &job));
    free(state);
    return job;
}

static void write_ppm(const char *path, const uint8_t *pixels, size_t count, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    fprintf(file, "P6\n%zu %zu\n255\n", count * size, size);
    for (size_t y = 0; y < size; y++) {
        for (size_t image = 0; image < count; image++) {
            fwrite(pixels + (image * size + y) * size * 3, 1, size * 3, file);
        }
    }
    fclose(file);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: sample BUNDLE PICTURE OUTPUT.ppm [cancel | resume]\n");
        return 2;
    }
    const char *mode = argc > 4 ? argv[4] : "";

    struct percept_bundle *bundle;
    check(percept_bundle_open(argv[1], "auto", &bundle));
    size_t length, size;
    check(percept_bundle_sizes(bundle, &length, &size));
    float *representation = allocate(length * sizeof *representation);
    check(percept_encode_file(bundle, argv[2], representation, length));

    struct percept_sample_options options = {.size = sizeof options, .samples = SAMPLES, .steps = STEPS, .seed = 1};
    struct percept_job *job;
    check(percept_job_start(bundle, representation, length, &options, &job));
    free(representation);

    struct percept_progress progress = {.size = sizeof progress};
    if (strcmp(mode, "cancel") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, cancel, job);
        check(percept_job_wait(job, &progress));
        pthread_join(thread, NULL);
    } else {
        while (2 * progress.done < STEPS) {
            check(percept_job_advance(job, 8.0, &progress));
        }
        if (strcmp(mode, "resume") == 0) {
            job = resumed(bundle, job);
        }
        check(percept_job_wait(job, &progress));
    }
    percept_bundle_close(bundle);

    size_t count;
    check(percept_job_images(job, &count, NULL, 0));
    uint8_t *pixels = allocate(count * size * size * 3);
    check(percept_job_images(job, &count, pixels, count * size * size * 3));
    percept_job_free(job);
    write_ppm(argv[3], pixels, count, size);
    free(pixels);
    printf("%s: %zu images, step %llu of %llu\n", progress.state == PERCEPT_CANCELLED ? "cancelled" : "done", count,
           (unsigned long long)progress.done, (unsigned long long)progress.total);
    return 0;
}
