CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(80) NOT NULL, price DECIMAL(10, 2), picture LONGBLOB)
    DEFAULT CHARSET utf8mb4;
INSERT INTO item (name, price, picture)
    SELECT CONCAT('Ñandú 🪶 ', seq, '\n\t\\'), seq * 1.25, UNHEX(SHA2(seq, 512)) FROM seq_1_to_4000;
INSERT INTO item (name, price, picture) VALUES ('every byte', NULL, UNHEX('000A0D1A225C27FF00'));
CREATE TABLE audit (item INT, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, what TEXT);
CREATE VIEW cheap AS SELECT id, name FROM item WHERE price < 10;
DELIMITER ;;
CREATE TRIGGER item_changed AFTER UPDATE ON item FOR EACH ROW
BEGIN
    INSERT INTO audit (item, what) VALUES (NEW.id, 'changed; by a trigger');
END;;
CREATE PROCEDURE reprice(IN factor DECIMAL(4, 2))
BEGIN
    UPDATE item SET price = price * factor WHERE id <= 3;
END;;
CREATE FUNCTION with_tax(price DECIMAL(10, 2)) RETURNS DECIMAL(10, 2) DETERMINISTIC RETURN price * 1.21;;
CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY DO DELETE FROM audit WHERE at < NOW() - INTERVAL 1 YEAR;;
DELIMITER ;
CALL reprice(2);
CREATE DATABASE `odd name``1`;
CREATE TABLE `odd name``1`.`select` (id INT PRIMARY KEY, `from` TEXT);
INSERT INTO `odd name``1`.`select` VALUES (1, 'one'), (2, NULL);
