type Tree = Readonly<Record<string, unknown>>

/** The value at a dotted key, or undefined. */
export function getDotted(tree: Tree, key: string): unknown {
  let value: unknown = tree
  for (const part of key.split('.')) {
    if (!isTree(value) || !Object.hasOwn(value, part)) return undefined
    value = value[part]
  }
  return value
}

/** A copy of the tree with the value at a dotted key set; objects on the way are made. */
export function setDotted(tree: Tree, key: string, value: unknown): Record<string, unknown> {
  const [first = '', ...rest] = key.split('.')
  if (rest.length === 0) return withEntry(tree, first, value)
  const inner = Object.hasOwn(tree, first) ? tree[first] : undefined
  return withEntry(tree, first, setDotted(isTree(inner) ? inner : {}, rest.join('.'), value))
}

/** The part of a dotted key at which there is a list: a list is set as a whole. */
export function listOnTheWay(tree: Tree, key: string): string | undefined {
  const parts = key.split('.')
  const prefixes = parts.slice(1).map((_, count) => parts.slice(0, count + 1).join('.'))
  return prefixes.find((prefix) => Array.isArray(getDotted(tree, prefix)))
}

/** Lays one tree over another; lists and plain values replace, objects merge. */
export function mergeTrees(under: Tree, over: Tree): Record<string, unknown> {
  const merged = new Map(Object.entries(under))
  for (const [key, value] of Object.entries(over)) {
    const below = merged.get(key)
    merged.set(key, isTree(value) && isTree(below) ? mergeTrees(below, value) : value)
  }
  // Entries, not assignments: a key named __proto__ is a key like any other.
  return Object.fromEntries(merged)
}

function withEntry(tree: Tree, name: string, value: unknown): Record<string, unknown> {
  return Object.fromEntries([...Object.entries(tree).filter(([key]) => key !== name), [name, value]])
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
