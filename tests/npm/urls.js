// Reads a JSON list of calls of generateImageUrl() or, with "info": true, of generateImageInfoUrl() from stdin, and writes
// the list of their URLs. Keys come this way, and not in the arguments or the environment, where others see them.
const { generateImageUrl, generateImageInfoUrl } = require("@imgproxy/imgproxy-node");

let text = "";
process.stdin.on("data", (piece) => (text += piece));
process.stdin.on("end", () => {
  const urls = JSON.parse(text).map(({ info, ...call }) => (info ? generateImageInfoUrl : generateImageUrl)(call));
  process.stdout.write(JSON.stringify(urls));
});
