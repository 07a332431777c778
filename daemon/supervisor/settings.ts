import { NexusError } from '../contracts/failure.ts'
import type { Manifest } from '../contracts/manifest.ts'
import { foreignChecker, sentenceOf } from '../kit/schema.ts'
import { mergeTrees } from './dotted.ts'

type Tree = Readonly<Record<string, unknown>>

/**
 * The settings a module runs with: its defaults, the configuration file over them, `configure` over both.
 *
 * @throws NexusError `CONFIG_VALUE_INVALID` with the pointer into the settings.
 */
export function effectiveConfig(manifest: Manifest, override: Tree, configured: Tree, key = ''): Tree {
  const config = mergeTrees(mergeTrees(manifest.config.defaults as Tree, override), configured)
  const checked = foreignChecker(manifest.config.schema, { defaults: true })(config)
  if (checked.ok) return checked.value as Tree
  const detail = sentenceOf(checked.issues)
  throw new NexusError(
    'CONFIG_VALUE_INVALID',
    { module: manifest.id, key, detail },
    { issues: checked.issues },
  )
}
