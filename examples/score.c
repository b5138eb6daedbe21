/* Score and decision of one picture by an exported detector, without Python or JAX.
 *
 * Pictures: binary PPM (P6, 8 bits). Models: detector.onnx or detector.xml of launch/export.py.
 * With the wheel of OpenVINO, whose folder is DIR:
 *   cc examples/score.c -IDIR/include -LDIR/libs -l:libopenvino_c.so.2641 \
 *      -Wl,-rpath,DIR/libs -o score
 *   ./score exported/detector.xml part.ppm
 */
#include <openvino/c/openvino.h>
#include <stdio.h>
#include <stdlib.h>

#define OK(call) if ((call) != 0) { fprintf(stderr, "failed: %s\n", #call); return 2; }

int main(int argc, char **argv) {
    int width, height;
    FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
    if (!file || fscanf(file, "P6 %d %d 255", &width, &height) != 2 || fgetc(file) == EOF) return 2;
    size_t size = (size_t)width * height * 3;
    unsigned char *pixels = malloc(size);
    if (!pixels || fread(pixels, 1, size, file) != size) return 2;

    ov_core_t *core;
    ov_compiled_model_t *model;
    ov_infer_request_t *request;
    ov_tensor_t *input, *score, *inspect;
    ov_shape_t shape;
    int64_t sides[] = {height, width, 3};
    void *found, *flag;
    OK(ov_core_create(&core));
    OK(ov_core_compile_model_from_file(core, argv[1], "CPU", 2, &model, "INFERENCE_PRECISION_HINT",
                                       "f32"));
    OK(ov_compiled_model_create_infer_request(model, &request));
    OK(ov_shape_create(3, sides, &shape));
    OK(ov_tensor_create_from_host_ptr(U8, shape, pixels, &input));
    OK(ov_infer_request_set_tensor(request, "pixels", input));
    OK(ov_infer_request_infer(request));
    OK(ov_infer_request_get_tensor(request, "score", &score));
    OK(ov_infer_request_get_tensor(request, "inspect", &inspect));
    OK(ov_tensor_data(score, &found));
    OK(ov_tensor_data(inspect, &flag));
    printf("%.9g %s\n", *(double *)found, *(int *)flag ? "inspect" : "normal");
    return 0;
}
