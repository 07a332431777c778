import { closeSync, readdirSync, readFileSync } from 'node:fs'

/**
 * Closes what whoever started this process left open in it, but for standard input, output and error: each module's
 * process would inherit it. Node itself marks what it opens, so that no child gets it.
 */
export function closeInherited(): void {
  for (const name of listDescriptors()) {
    const descriptor = Number(name)
    if (descriptor > 2 && isPassedOn(descriptor)) closeSync(descriptor)
  }
}

function listDescriptors(): readonly string[] {
  try {
    return readdirSync('/proc/self/fd')
  } catch {
    return [] // no /proc, no telling
  }
}

function isPassedOn(descriptor: number): boolean {
  try {
    const [, flags = ''] =
      /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'latin1')) ?? []
    return flags !== '' && (Number.parseInt(flags, 8) & O_CLOEXEC) === 0
  } catch {
    return false // the one that the list was read with
  }
}

const O_CLOEXEC = 0o2000000
