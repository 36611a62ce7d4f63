//! Whether two trees are the same files, wherever their contents are.

use std::collections::HashMap;

use crate::tree::{Content, Id, ROOT, Tree};

impl Tree {
    /// Whether both have the same names, owners, modes, attributes, links and sizes. Times are not
    /// compared (some lists have them rounded), nor where contents are.
    pub fn has_the_files_of(&self, other: &Self) -> bool {
        // Ours to theirs, and back: what has several names on one side must have them on the other.
        let mut same: HashMap<Id, Id> = HashMap::new();
        let mut back: HashMap<Id, Id> = HashMap::new();
        let mut pending = vec![(ROOT, ROOT)];
        while let Some((mine, theirs)) = pending.pop() {
            if let Some(before) = same.insert(mine, theirs) {
                if before != theirs {
                    return false;
                }
                continue;
            }
            if back.insert(theirs, mine).is_some() {
                return false;
            }
            let (one, two) = (&self.inodes[mine as usize], &other.inodes[theirs as usize]);
            let (a, b) = (&one.meta, &two.meta);
            let mut attributes = (a.xattrs.clone(), b.xattrs.clone());
            attributes.0.sort();
            attributes.1.sort();
            if (a.mode, a.uid, a.gid) != (b.mode, b.uid, b.gid) || attributes.0 != attributes.1 {
                return false;
            }
            match (&one.content, &two.content) {
                (Content::Directory(one), Content::Directory(two)) => {
                    if one.opaque != two.opaque || one.entries.len() != two.entries.len() {
                        return false;
                    }
                    for ((name, id), (other_name, other_id)) in one.entries.iter().zip(&two.entries)
                    {
                        if name != other_name {
                            return false;
                        }
                        pending.push((*id, *other_id));
                    }
                }
                (Content::File(one), Content::File(two)) if one.size == two.size => {}
                (Content::File(_), _) => return false,
                (one, two) if one == two => {}
                _ => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::{Meta, Node, Tree};

    fn tree(size: u64, offset: u64, link: bool) -> Tree {
        let mut tree = Tree::new();
        let file = Node::File { size, offset };
        tree.add(b"d/a", Meta::default(), file.clone())
            .expect("file");
        match link {
            true => tree.hard_link(b"d/b", b"d/a").expect("link"),
            false => tree.add(b"d/b", Meta::default(), file).expect("file"),
        }
        tree
    }

    #[test]
    fn places_do_not_count_and_everything_else_does() {
        let one = tree(9, 512, true);
        assert!(one.has_the_files_of(&tree(9, 2048, true)));
        assert!(!one.has_the_files_of(&tree(8, 512, true)));
        let apart = tree(9, 512, false);
        assert!(!one.has_the_files_of(&apart), "a link");
        assert!(!apart.has_the_files_of(&one), "two files");
        assert!(!one.has_the_files_of(&Tree::new()));
        let mut more = tree(9, 512, true);
        let fifo = Node::Fifo;
        more.add(b"d/c", Meta::default(), fifo).expect("fifo");
        assert!(!one.has_the_files_of(&more) && !more.has_the_files_of(&one));
        let mut owned = tree(9, 512, true);
        let meta = Meta {
            uid: 7,
            ..Meta::default()
        };
        owned.add(b"d", meta, Node::Directory).expect("directory");
        assert!(!one.has_the_files_of(&owned));
    }
}
