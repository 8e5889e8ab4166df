// Has Dawn, the WebGPU of Chromium, compile WGSL on its null backend: a second front end beside naga, and a
// second opinion on WebGPU's default limits. No driver and no display are needed.
//
//     node dawn.mjs FOLDER_WITH_WEBGPU FILE.wgsl...
//
// The first line of a file is a comment with the values of its override constants, in JSON. Writes the names
// of the files that fail to stdout, and why to stderr.
import { readFileSync } from "node:fs";

const [folder, ...files] = process.argv.slice(2);
const { create, globals } = await import(`${folder}/node_modules/webgpu/index.js`);
Object.assign(globalThis, globals);
// Everything else breaks when it is collected as garbage.
globalThis.gpu = create(["backend=null"]);
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice();
for (const file of files) {
    const code = readFileSync(file, "utf8");
    const constants = JSON.parse(code.slice(code.indexOf("{"), code.indexOf("\n")));
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code });
    const refused = await device.popErrorScope();
    const compute = { module, entryPoint: "main", constants };
    try {
        if (refused) throw refused;
        await device.createComputePipelineAsync({ layout: "auto", compute });
    } catch (error) {
        console.log(file);
        console.error(`${file}: ${error.message}`);
    }
}
