//! The program of the built-in image: an ELF file of one segment that writes a text and ends.
//! Made here byte by byte, so that it needs no toolchain at build time and never changes.

/// What it says.
const TEXT: &[u8] = b"\nHello from Corten!\n\n\
    This container was built, started and logged by the engine on this machine,\n\
    from an image that needs no network. To try more:\n\n\
    \x20 corten run -it debian bash\n\n";

/// Where the file is mapped.
const BASE: u64 = 0x40_0000;
/// ELF header and one program header.
const HEADERS: usize = 64 + 56;

/// The program for this machine; `None` where there is none yet.
pub(super) fn program() -> Option<Vec<u8>> {
    match std::env::consts::ARCH {
        "x86_64" => Some(elf(62, &x86_64())),
        "aarch64" => Some(elf(183, &aarch64())),
        _ => None,
    }
}

fn text_address(code: usize) -> u32 {
    // Below 4 GiB by construction.
    (BASE as usize + HEADERS + code) as u32
}

/// `write(1, TEXT); exit(0)`.
fn x86_64() -> Vec<u8> {
    const LENGTH: usize = 5 + 5 + 5 + 5 + 2 + 5 + 2 + 2;
    let mut code = Vec::with_capacity(LENGTH);
    let mut load = |opcode: u8, value: u32| {
        code.push(opcode);
        code.extend(value.to_le_bytes());
    };
    load(0xb8, 1); // mov eax, write
    load(0xbf, 1); // mov edi, 1
    load(0xbe, text_address(LENGTH)); // mov esi, text
    load(0xba, TEXT.len() as u32); // mov edx, length
    code.extend([0x0f, 0x05]); // syscall
    code.push(0xb8); // mov eax, exit
    code.extend(60_u32.to_le_bytes());
    code.extend([0x31, 0xff]); // xor edi, edi
    code.extend([0x0f, 0x05]); // syscall
    code
}

/// The same.
fn aarch64() -> Vec<u8> {
    let address = text_address(9 * 4);
    let movz = |register: u32, value: u32| 0xd280_0000 | (value & 0xffff) << 5 | register;
    let movk_high = |register: u32, value: u32| 0xf2a0_0000 | (value >> 16) << 5 | register;
    let svc = 0xd400_0001_u32;
    let code = [
        movz(0, 1),
        movz(1, address),
        movk_high(1, address),
        movz(2, TEXT.len() as u32),
        movz(8, 64),
        svc,
        movz(0, 0),
        movz(8, 93),
        svc,
    ];
    code.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    let size = (HEADERS + code.len() + TEXT.len()) as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend(2_u16.to_le_bytes()); // executable
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend((BASE + HEADERS as u64).to_le_bytes()); // entry
    file.extend(64_u64.to_le_bytes()); // program headers
    file.extend(0_u64.to_le_bytes()); // no sections
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes()); // loaded
    file.extend(5_u32.to_le_bytes()); // readable, executable
    for word in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file.extend(TEXT);
    file
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_runs() {
        let Some(program) = super::program() else {
            return;
        };
        let path = std::env::temp_dir().join(format!("hello-{}", std::process::id()));
        std::fs::write(&path, program).expect("write");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("chmod");
        let output = std::process::Command::new(&path).output();
        std::fs::remove_file(&path).expect("remove");
        let output = output.expect("run");
        assert!(output.status.success());
        assert_eq!(output.stdout, super::TEXT);
    }
}
