type Tree = Readonly<Record<string, unknown>>

/** The value at a dotted key, or undefined. */
export function getDotted(tree: Tree, key: string): unknown {
  let value: unknown = tree
  for (const part of key.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as Tree)[part]
  }
  return value
}

/** A copy of the tree with the value at a dotted key set; objects on the way are made. */
export function setDotted(tree: Tree, key: string, value: unknown): Record<string, unknown> {
  const [first = '', ...rest] = key.split('.')
  if (rest.length === 0) return { ...tree, [first]: value }
  const inner = Object.hasOwn(tree, first) ? tree[first] : undefined
  const branch = typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? (inner as Tree) : {}
  return { ...tree, [first]: setDotted(branch, rest.join('.'), value) }
}

/** Lays one tree over another; lists and plain values replace, objects merge. */
export function mergeTrees(under: Tree, over: Tree): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...under }
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key]
    merged[key] = isTree(value) && isTree(below) ? mergeTrees(below, value) : value
  }
  return merged
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
