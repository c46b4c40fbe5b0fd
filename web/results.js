// Brings back results that no message brought: those of nodes that the server takes from its cache (cores before 0.19
// send none for them), and those of runs before the page or the workflow was opened. The server's history has both.

import { api } from "../../scripts/api.js";
import { numbered, rootGraph } from "./parts.js";

/** So many of the server's last runs are searched for those of a workflow. */
const RUNS = 32;

/** By workflow, then by the number under which the server ran a node: the node's kind and what it showed. */
const known = new Map();

/** Read runs from the server's history, the oldest first. */
async function history(path) {
  const answer = await api.fetchApi(`/history${path}`);
  return answer.ok ? Object.values(await answer.json()) : [];
}

function note({ prompt: [, , nodes, { extra_pnginfo: sent }], outputs }) {
  const id = sent?.workflow?.id;
  if (!id) return;
  const shown = Object.entries(outputs).filter(([number, { con360 }]) => con360 && nodes[number]);
  const noted = shown.map(([number, { con360 }]) => [number, { kind: nodes[number].class_type, con360 }]);
  known.set(id, new Map([...(known.get(id) ?? []), ...noted]));
}

/** Give the open workflow's nodes what their last run showed. */
function show() {
  const graph = rootGraph();
  for (const [number, node] of numbered(graph)) {
    const found = known.get(graph.id)?.get(number);
    if (found && found.kind === node.comfyClass) node.con360Outputs = found.con360;
  }
}

/** Show the last results of the workflow that was opened. */
export async function showLast() {
  const { id } = rootGraph();
  if (!known.has(id)) {
    known.set(id, new Map());
    const runs = await history(`?max_items=${RUNS}`);
    for (const run of runs) if (run.prompt[3].extra_pnginfo?.workflow?.id === id) note(run);
  }
  show();
}

/** From now on, show at the end of each run also what came from the cache. */
export function followRuns() {
  let done;
  api.addEventListener("execution_success", ({ detail }) => (done = detail.prompt_id));
  // The server files a run after its success, and then says that nothing is executing.
  api.addEventListener("executing", async ({ detail: node }) => {
    if (node || !done) return;
    const path = `/${done}`;
    done = undefined;
    for (const run of await history(path)) note(run);
    show();
  });
}
