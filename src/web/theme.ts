/** How Mantine looks here: one calm accent, small radii, dense controls, bundled fonts. */
import { createTheme } from '@mantine/core'
import type { MantineColorsTuple } from '@mantine/core'

/** Harbour: a blue-green that has contrast on white and on the dark ground. */
const harbour: MantineColorsTuple = ['#ecfbfd', '#d3f2f7', '#a6e4ee', '#74d3e3', '#45bfd3', '#22a6bd', '#0e8aa2', '#0b7085', '#0a5b6d', '#0a4654']
const slate: MantineColorsTuple = ['#c9d3dd', '#b4c0cc', '#94a3b3', '#66788a', '#3b4a59', '#2b3846', '#1e2833', '#151d26', '#0f151c', '#0a0f14']

export const theme = createTheme({
  primaryColor: 'harbour',
  primaryShade: { light: 7, dark: 7 },
  autoContrast: true,
  luminanceThreshold: 0.32,
  colors: { harbour, dark: slate },
  defaultRadius: 'md',
  fontFamily: "'Inter Variable', system-ui, -apple-system, 'Segoe UI', sans-serif",
  fontFamilyMonospace: "'JetBrains Mono Variable', ui-monospace, SFMono-Regular, Menlo, monospace",
  headings: { fontWeight: '620', sizes: { h1: { fontSize: '1.35rem', lineHeight: '1.3' }, h2: { fontSize: '1.05rem', lineHeight: '1.4' }, h3: { fontSize: '.95rem', lineHeight: '1.4' } } },
  fontSizes: { xs: '0.75rem', sm: '0.84rem', md: '0.92rem', lg: '1.05rem', xl: '1.2rem' },
  cursorType: 'pointer',
  respectReducedMotion: true,
  components: {
    Tooltip: { defaultProps: { withArrow: true, openDelay: 300, events: { hover: true, focus: true, touch: true } } },
    Badge: { defaultProps: { tt: 'none' } },
    Button: { defaultProps: { size: 'xs' } },
    TextInput: { defaultProps: { size: 'sm' } },
    Select: { defaultProps: { size: 'sm', comboboxProps: { shadow: 'md' } } },
    NumberInput: { defaultProps: { size: 'sm' } },
    // What opens beside a field of a part that is still unfolding would stay hidden until something is scrolled.
    Popover: { defaultProps: { hideDetached: false } },
    Modal: { defaultProps: { centered: true, overlayProps: { backgroundOpacity: 0.45, blur: 2 } } },
  },
})
