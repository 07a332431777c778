/**
 * The order in which modules start: what is required comes first, otherwise by name, so that it is the same every time.
 *
 * Members of a cycle come last; the catalog has found them invalid before.
 */
export function startOrder(requires: ReadonlyMap<string, readonly string[]>): string[] {
  const ordered: string[] = []
  const seen = new Set<string>()
  const visit = (id: string): void => {
    if (seen.has(id)) return
    seen.add(id)
    for (const other of [...(requires.get(id) ?? [])].sort()) if (requires.has(other)) visit(other)
    ordered.push(id)
  }
  for (const id of [...requires.keys()].sort()) visit(id)
  return ordered
}
