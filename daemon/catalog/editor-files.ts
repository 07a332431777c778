/**
 * Whether a name is one that editors and file managers use for a moment while they save: never part of a module, and
 * no reason to reload one.
 */
export function isPassing(name: string): boolean {
  return PASSING.some((pattern) => pattern.test(name))
}

/** Folders that are not the module's own text: they change often, or are large, or are made by running it. */
export function isForeignFolder(name: string): boolean {
  return name === '.git' || name === '.hg' || name === '.svn' || name === '__pycache__'
}

/**
 * Whether a name is one of those under which Kubernetes keeps the versions of a mounted ConfigMap (`..data` and what it
 * leads to). The files are links into them, and are read through these: by themselves they are no part of the module,
 * since their names change with the time of the mount.
 */
export function isVersionFolder(name: string): boolean {
  return name.startsWith('..')
}

/** Whether a change of this name is nothing to reload for: dependencies change with what names them. */
export function isUnwatched(name: string): boolean {
  return name === 'node_modules' || isForeignFolder(name) || isPassing(name)
}

const PASSING = [
  /~$/, // backups of many editors
  /^\..*\.sw[a-z]$/, // vim
  /^4913$/, // vim tries whether the folder can be written
  /^\.#/, // emacs locks
  /^#.*#$/, // emacs saves by itself
  /^\.subl.*\.tmp$/, // Sublime Text
  /___jb_(tmp|old)___$/, // JetBrains
  /^\.goutputstream-/, // GNOME
  /^\..*\.kate-swp$/, // Kate
  /^\.~lock\..*#$/, // LibreOffice
  /^\.(nfs[0-9a-f]{16,}|fuse_hidden[0-9a-f]+)$/, // removed, but still open somewhere
  /^\.DS_Store$/,
]
