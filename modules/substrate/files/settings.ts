/** The module's configuration, as `config` of `module.json` describes it. */
export interface Settings {
  readonly read_bytes_max: number
  readonly write_bytes_max: number
  readonly total_bytes_max: number
  readonly files_max: number
}
